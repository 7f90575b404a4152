"""What trains, at what rate and when: strategies, their methods, and the freeze contract."""
