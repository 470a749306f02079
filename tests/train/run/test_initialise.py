"""Starting points: classifiers by anybody's names, published BiRefNets of either patch order, frozen stages."""

from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import load_file

import birefnet_core as bc
from birefnet_core.weights.files import write_weights
from birefnet_core.weights.places import BUNDLED
from train.recipe import read_recipe
from train.run import initialise
from train.run.optimise import freeze_stages_, training_mode_
from train.run.result import MODEL
from train.train import main, recipe_path

NARROW = {"block_channels": 8, "branch_channels": 8, "inward_channels": 4, "dropout": 0.0}
WIDER = NARROW | {"block_channels": 16}


def test_every_backbone_of_ours_has_weights_on_timms_hub():
    there = set(timm.list_pretrained())
    from birefnet_core.network.backbones import BACKBONES

    assert set(initialise.TIMM_TAGS) == set(BACKBONES)
    assert not [tag for tag in initialise.TIMM_TAGS.values() if tag not in there]


@pytest.mark.parametrize(
    "backbone", ["swin_v1_t", "pvt_v2_b0", "resnet50", "vgg16bn", "dino_v3_s", "timm:test_efficientnet"]
)
@torch.no_grad()
def test_a_timm_classifier_becomes_the_backbone(backbone, monkeypatch):
    """The deepest level equals timm's own last feature map, so every weight arrived where it belongs."""
    torch.manual_seed(0)
    tag = initialise.TIMM_TAGS.get(backbone, backbone.removeprefix("timm:"))
    side = 448 if backbone.startswith("swin") else 64  # timm shifts no windows where one window is all there is
    options = {"img_size": side} if backbone.startswith("swin") else {}
    classifier = timm.create_model(tag.split(".")[0], **options).eval()
    monkeypatch.setattr(timm, "create_model", _answering(classifier, tag))
    network = bc.build_network(backbone, **NARROW)
    initialise.initialise_(network, "timm")
    x = torch.randn(1, 3, side, side)
    deepest = network.localization.backbone.eval()(x)[-1]
    theirs = classifier.forward_features(x)
    if backbone.startswith("swin"):
        theirs = theirs.permute(0, 3, 1, 2)  # norm3 is the classifier's last norm
    elif backbone.startswith("dino"):
        theirs = classifier.forward_intermediates(x, indices=[11], intermediates_only=True)[0]
    elif backbone.startswith("timm"):
        theirs = classifier.forward_intermediates(x, intermediates_only=True)[-1]
    elif backbone.startswith("vgg"):
        theirs = classifier.features(x)
    torch.testing.assert_close(deepest, theirs, atol=1e-4, rtol=1e-4)


def _answering(classifier, tag):
    """timm.create_model, but for the one download of the hub's weights."""
    original = timm.create_model

    def create_model(name, pretrained=False, **options):
        if pretrained:
            assert name == tag
            return classifier
        return original(name, **options)

    return create_model


def test_a_backbone_file_is_read_under_published_and_timm_names(tmp_path):
    source = bc.build_network("pvt_v2_b0", **NARROW)
    published = {k: v for k, v in bc.export_published(source).items() if k.startswith("bb.")}
    stripped = {key.removeprefix("bb."): value for key, value in published.items()}
    for number, weights in enumerate((published, stripped)):
        write_weights(tmp_path / f"{number}.safetensors", weights, {})
        network = bc.build_network("pvt_v2_b0", **NARROW)
        initialise.initialise_(network, str(tmp_path / f"{number}.safetensors"))
        for name, value in source.localization.backbone.state_dict().items():
            assert torch.equal(value, network.localization.backbone.state_dict()[name])
    with pytest.raises(ValueError, match=r"0\.safetensors does not fit the backbone resnet50"):
        initialise.initialise_(bc.build_network("resnet50", **NARROW), str(tmp_path / "0.safetensors"))


def test_without_a_connection_timm_is_refused_in_one_sentence(monkeypatch):
    def fail(*args, **options):
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(ValueError, match=r"swin_tiny.*no route to host.*--init FILE"):
        initialise.fetch_from_timm("swin_v1_t")


@pytest.mark.parametrize("order", ["2024", "2025"])
def test_a_published_file_is_finetuned(order, discs, tiny, tmp_path):
    """From the published layout in either patch order, without naming the architecture; out in the order asked for."""
    torch.manual_seed(0)
    network = bc.build_network("pvt_v2_b0", **NARROW)
    metadata = {"architecture": network.architecture.to_json(), "patch_order": order}
    write_weights(tmp_path / "published.safetensors", bc.export_published(network, order), metadata)
    arguments = ["--recipe", "finetune", "--init", str(tmp_path / "published.safetensors"), "--data", str(discs)]
    arguments += ["--size", "64", "--steps", "1", "--batch-size", "2", "--precision", "fp32", "--device", "cpu"]
    arguments += ["--set", "learning_rate=1e-30", "--set", "backbone_learning_rate=1e-30", "--threads", "1"]
    arguments += ["--set", "weight_decay=0.0", "--set", "validation_pictures=1", "--patch-order", "2024"]
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 0
    path = tmp_path / "run" / MODEL
    assert bc.inspect(path).patch_order == "2024"
    result = load_file(path)
    for name, value in bc.export_published(network, "2024").items():
        if value.is_floating_point():
            torch.testing.assert_close(result[name].float(), value, atol=1e-3, rtol=1e-3)


def test_finetuning_keeps_the_size_of_its_model_unless_told(tmp_path):
    recipe = read_recipe(recipe_path("finetune"), overrides={"init": "bundled", "architecture.classes": 4})
    side = bc.inspect(BUNDLED).size[0]
    taken = initialise.take_architecture(recipe, {})
    assert taken.model_size == taken.validation_size == taken.phases[0].size == (side, side) != recipe.model_size
    assert taken.architecture.backbone == "timm:tf_efficientnet_lite0" and taken.architecture.classes == 4
    kept = initialise.take_architecture(recipe, {"size": 64})
    assert (kept.model_size, kept.phases) == (recipe.model_size, recipe.phases)
    partly = initialise.take_architecture(replace(recipe, validation_size=(64, 64)), {"validation_size": 64})
    assert (partly.validation_size, partly.model_size) == ((64, 64), (side, side))
    network = bc.build_network("pvt_v2_b0", **NARROW)
    metadata = {"architecture": network.architecture.to_json(), "patch_order": "2025", "size": "dynamic"}
    write_weights(tmp_path / "dynamic.safetensors", bc.export_published(network), metadata)
    recipe = read_recipe(recipe_path("finetune"), overrides={"init": str(tmp_path / "dynamic.safetensors")})
    assert initialise.take_architecture(recipe, {}).phases == recipe.phases


def test_a_model_made_for_other_pictures_is_no_beginning(tmp_path):
    trained, path = bc.build_network("pvt_v2_b0", **NARROW), tmp_path / "other.safetensors"
    bc.save_model(trained.eval(), path, spec=bc.ModelSpec("o", "pvt_v2_b0", (64, 64), mean=(0.5, 0.5, 0.5)))
    words = r"other\.safetensors.* was made for pictures with mean \(0\.5, 0\.5, 0\.5\) .* begin from another model"
    with pytest.raises(ValueError, match=words):
        initialise.initialise_(bc.build_network("pvt_v2_b0", **NARROW), str(path))
    with pytest.raises(ValueError, match=words):
        initialise.take_architecture(read_recipe(recipe_path("finetune"), overrides={"init": str(path)}), {})


def test_only_the_class_head_may_differ(tmp_path):
    trained = bc.build_network("pvt_v2_b0", **NARROW)
    metadata = {"architecture": trained.architecture.to_json(), "patch_order": "2025"}
    write_weights(tmp_path / "m.safetensors", bc.export_published(trained), metadata)
    network = bc.build_network("pvt_v2_b0", classes=5, **NARROW)
    initialise.initialise_(network, str(tmp_path / "m.safetensors"))
    assert torch.equal(network.reconstruction.head.conv.weight, trained.reconstruction.head.conv.weight)
    with pytest.raises(ValueError, match="layers differ from the recipe's architecture"):
        initialise.initialise_(bc.build_network("pvt_v2_b0", **WIDER), str(tmp_path / "m.safetensors"))


@pytest.mark.parametrize("backbone", ["pvt_v2_b0", "swin_v1_t", "timm:test_efficientnet"])
def test_frozen_stages_stay_as_they_are(backbone):
    recipe = read_recipe(recipe_path("general"))
    learning = []
    for count in range(5):
        network = bc.build_network(backbone, **NARROW)
        freeze_stages_(network, count)
        learning.append(sum(p.numel() for p in network.localization.backbone.parameters() if p.requires_grad))
        assert all(p.requires_grad for p in network.reconstruction.parameters())
    assert learning == sorted(learning, reverse=True) and len(set(learning)) == 5 and learning[-1] == 0
    training_mode_(network, recipe)
    norms = [m for m in network.localization.backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert not any(norm.training for norm in norms)
    assert network.localization.squeeze.conv_in.norm.training
