"""One's own images: what to fine-tune for them, how good it gets, and whether that is better than training nothing."""

from studies.spec.study import Study

STUDY = Study(
    "compare-strategies",
    title="which layers to fine-tune for these images, and whether it pays",
    source="wdiv",
    weights="pretrained",
    strategies=("fc", "bn+fc", "conv+fc", "conv+bn+fc"),
    bn_modes=("frozen", "batch"),
    seeds=(0, 1, 2),
    baselines=("svm",),
    small_classes="keep",
    epochs=5,
    keep="last",
    metrics=("output_change", "relative_l2"),
    reference=0,
    recommend=True,
)
