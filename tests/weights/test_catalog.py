from pathlib import PurePath

import pytest

from birefnet_core.weights.catalog import _ELSEWHERE, IMAGENET_MEAN, IMAGENET_STD, by_file, find, published


def test_names_and_files_are_unique_in_any_case():
    # The files share one folder, which on Windows and macOS does not tell upper from lower case.
    names = [row.spec.name.casefold() for row in published()]
    assert len(set(names)) == len(names) == 22
    assert len({row.file_name.casefold() for row in published()}) == len(names)


def test_every_row_is_complete():
    for row in published():
        spec = row.spec
        assert spec.backbone in ("swin_v1_l", "swin_v1_t"), spec.name
        assert spec.patch_order in ("2024", "2025", "auto"), spec.name
        assert spec.task in ("general", "matting", "portrait", "DIS", "HRSOD", "COD"), spec.name
        assert (spec.mean, spec.std) == (IMAGENET_MEAN, IMAGENET_STD), spec.name
        assert spec.licence and spec.source == row.repository, spec.name
        assert spec.size is None or all(side % 32 == 0 for side in spec.size), spec.name
        assert "/" not in spec.name and row.repository.count("/") == 1, spec.name


@pytest.mark.parametrize(
    "name, size, backbone, patch_order",
    [
        ("BiRefNet", (1024, 1024), "swin_v1_l", "2024"),
        ("BiRefNet_lite", (1024, 1024), "swin_v1_t", "2024"),
        ("BiRefNet_lite-2K", (2560, 1440), "swin_v1_t", "2024"),
        ("BiRefNet_HR", (2048, 2048), "swin_v1_l", "2025"),
        ("BiRefNet_512x512", (512, 512), "swin_v1_l", "2025"),
        ("BiRefNet_dynamic", None, "swin_v1_l", "2025"),
        ("BiRefNet_lite-matting", (1024, 1024), "swin_v1_t", "auto"),
        ("RMBG-2.0", (1024, 1024), "swin_v1_l", "2024"),
        ("ToonOut", (1024, 1024), "swin_v1_l", "auto"),
        ("Lucida", (1024, 1024), "swin_v1_l", "2025"),
    ],
)
def test_facts(name, size, backbone, patch_order):
    spec = find(name).spec
    assert (spec.name, spec.size, spec.backbone, spec.patch_order) == (name, size, backbone, patch_order)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("birefnet-PORTRAIT", "BiRefNet-portrait"),
        ("ZhengPeng7/BiRefNet_HR", "BiRefNet_HR"),
        ("zhengpeng7/birefnet", "BiRefNet"),
        ("BiRefNet_T", "BiRefNet_lite"),
        ("ZhengPeng7/BiRefNet_T", "BiRefNet_lite"),
        ("briaai/RMBG-2.0", "RMBG-2.0"),
        (" Lucida ", "Lucida"),
        ("Comfy-Org/BiRefNet", "BiRefNet-ComfyOrg"),
        ("Comfy-Org/BiRefNet/background_removal/lucida.safetensors", "Lucida-ComfyOrg"),
    ],
)
def test_aliases(name, expected):
    assert find(name).spec.name == expected


def test_an_unknown_name_lists_close_ones():
    with pytest.raises(ValueError, match=r"'BiRefNet-potrait'.*Did you mean BiRefNet-portrait"):
        find("BiRefNet-potrait")


def test_a_far_off_name_lists_all():
    with pytest.raises(ValueError, match=r"zzz.*BiRefNet, BiRefNet_lite,.*RMBG-2.0"):
        find("zzz")


def test_a_file_keeps_the_ending_it_has_on_the_hub():
    assert find("BiRefNet").file_name == "BiRefNet.safetensors"
    assert find("RMBG-2.0").file_name == "RMBG-2.0.safetensors"
    assert find("ToonOut").file_name == "ToonOut.pth"
    assert find("Comfy-Org/BiRefNet").file_name == "BiRefNet-ComfyOrg.safetensors"


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("models/background_removal/BiRefNet_HR.safetensors", "BiRefNet_HR"),
        ("ToonOut.pth", "ToonOut"),
        ("models/BiRefNet/General-HR.safetensors", "BiRefNet_HR"),  # ComfyUI_BiRefNet_ll
        ("models/RMBG/BiRefNet/BiRefNet-HR-matting.safetensors", "BiRefNet_HR-matting"),  # ComfyUI-RMBG
        ("models/RMBG/RMBG-2.0/model.safetensors", "RMBG-2.0"),
        ("BiRefNet_dynamic/model.safetensors", "BiRefNet_dynamic"),
        ("background_removal/model.safetensors", None),
        ("birefnet.safetensors", None),
        ("General-HR.pth", None),
        ("mine.safetensors", None),
    ],
)
def test_rows_of_files(file, expected):
    row = by_file(PurePath(file))
    assert (row and row.spec.name) == expected


def test_names_of_other_packs_are_of_published_models():
    assert set(_ELSEWHERE.values()) <= {row.spec.name for row in published()}
    assert not set(_ELSEWHERE) & {row.spec.name for row in published()}


def test_the_restricted_licence_is_said():
    row = find("RMBG-2.0")
    assert "Non-commercial" in row.spec.note and "Gated" in row.spec.note and row.spec.licence == "bria-rmbg-2.0"
