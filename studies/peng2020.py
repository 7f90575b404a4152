"""Peng and Wang (2020), How to fine-tune deep neural networks in few-shot learning? The grid of tables 1 to 8."""

from studies.study import STUDIES, Study

STUDIES.add(
    Study(
        "peng2020",
        title="which kind of layer to fine-tune, and how many images it takes",
        source="P. Peng and J. Wang (2020)",
        models=("densenet121", "densenet201", "resnet18", "resnet50", "resnet152"),
        weights="IMAGENET1K_V1",
        data=None,  # the paper's ferrographs are not public
        per_class=(20, 40, None),
        strategies=(
            "scratch", "fc", "conv+fc", "bn+fc", "conv+bn+fc", "by-kind",
            "bn@stage4+fc", "bn@stage3-4+fc", "bn@stage2-4+fc",
        ),
        optimizer="adam",  # section 3.1; the rates are the strategies' own
        epochs=30,  # ours: the paper leaves out epochs, batch size, image size, augmentation and BN mode
        batch_size=32,
    )
)  # fmt: skip
