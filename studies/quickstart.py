"""Two or three minutes, no download: digits 0-4 teach a ResNet-18, which is then fine-tuned on a few digits 5-9."""

from studies.spec.study import Pretrain, Study

STUDY = Study(
    "quickstart",
    title="what moves when a network that knows the digits 0 to 4 learns 5 to 9 from a few examples",
    source="wdiv",
    models=("resnet18",),
    pretrain=Pretrain("digits-0-4", epochs=4),
    data="digits-5-9",
    per_class=(5, 20),
    strategies=("fc", "conv+fc", "bn+fc", "conv+bn+fc"),
    seeds=(0, 1),
    epochs=6,
    keep="first,last",
    batch_size=16,
    image_size=32,
    test_count=50,
    reference=0,
)
