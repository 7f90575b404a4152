"""Fine-tuning: what is trained, on what, how; each room below has its law in ``tests/test_laws.py``."""
