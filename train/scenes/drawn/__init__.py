"""Cut-outs that nobody photographs whole, drawn with exact alpha: text, logos, prints, drawings, line art, glow, smoke
and glass. KINDS names them; the training pack and the evaluation set `effects` draw theirs from seeds of their own.
"""
