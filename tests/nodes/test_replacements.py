"""Nodes of other packs for which ComfyUI offers ours. tests/comfyui runs them."""


def test_every_replacement_fits_our_node(module, node):
    rows = module("nodes.replacements").REPLACEMENTS
    assert len({row.old for row in rows}) == len(rows) >= 4
    for row in rows:
        ours = node(row.new)
        groups = ours.INPUT_TYPES()
        known = {**groups["required"], **groups.get("optional", {})}
        assert groups["required"].keys() <= row.inputs.keys() <= known.keys()
        for new, old in row.inputs.items():
            kind = known[new][0]
            is_widget = isinstance(kind, list) or kind in ("INT", "FLOAT", "STRING", "BOOLEAN")
            assert (old in row.widgets) == is_widget
        assert all(index < len(ours.RETURN_TYPES) for index in row.outputs.values())
        assert len(set(row.outputs.values())) == len(row.outputs)


def test_none_of_our_own_nodes_is_replaced(module, pack):
    rows = module("nodes.replacements").REPLACEMENTS
    assert not {row.old for row in rows} & pack.NODE_CLASS_MAPPINGS.keys()
