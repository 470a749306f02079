"""What a hint says about each pixel: how likely it belongs to what is asked for, before the network is asked.

All at a low resolution, about SIDE x SIDE, in numpy. Three kinds of hint are told apart and read in different ways:

- A mask is first laid right: moved, grown or shrunk by up to REACH of the subject's size, to where its border lies best
  on the edges of picture and alpha (a mask that somebody drew or another network made is too small, too large or beside
  the subject as a whole). How well it then lies says how far it can be trusted: its doubt. Further inside than that is
  subject, further outside is not, in between alpha and the colours on either side decide.
- A box says "within". What alpha shows outside is something else, and so is what has its colours, or is nearer to it
  than to the middle of the box along a path that crosses no edge.
- A line that goes around something says "within" too (outlines, surrounds).
- A dot or a scribble says "this one": the piece of alpha on which it lies, as far as the colours around it go and no
  edge is crossed. What is as thin but has edges along its border is the mask of something thin. What is broader is a
  scribble too where it has none and what it lies on goes on (may_be_painted, is_exceeded).
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

SIDE = 192  # of the square whose area a picture has here
REACH = 0.1  # of the subject's size (the root of its area): how far a mask is moved, grown or shrunk
SLACK = 10.0  # price of doing so: what the mean edge under the border must gain, by the square of the share of the size
STEPS = 9  # sizes that are tried, the own one in their midst
LEFT = 0.5  # of its border, at least: the slats of a mask behind bars would vanish, or grow into one
DOUBT = 0.015  # of the subject's size, of a mask that lies on edges
MORE_DOUBT = 0.25  # that much more for each 1 that is missing of AGREED in the mean edge under its border
AGREED = 0.85
EDGES_OF_ALPHA = 0.7  # of the edges on which it is laid
SEEN, BLIND = 0.7, 0.5  # IoU with alpha and mean edge below which the network seems not to see what a mask shows
ALONE = 0.1  # that the mean edge must be more then, of the colours alone
OUTLINED = 0.65  # mean edge under the border of a line from which it is a thin mask; of 144 scribbles 140 have less
STRAY, BARE = 0.5, 0.5  # the same of what may be painted, in alpha and colours, and in the colours alone
HARDLY = 0.6, 0.7  # the same where a network that was told it shows much more
SHRED = 0.5  # the same of a strip of a mask that looks like a stroke: one had .56, 15 strokes on subjects .41 at most
SOFT_DOUBT = 0.35  # of the width of a mask's own soft border
TRUST = 1.2  # log-odds for each doubt inward or outward
MOST_TRUST = 4.0  # doubts inward or outward beyond which trust grows no more
ALPHA = {"mask": 0.3, "box": 0.6, "dot": 0.5}  # log-odds for each of alpha's
COLOUR = {"mask": 0.5, "box": 0.8, "dot": 1.6}  # log-odds for each of the colours'
EDGE_SPREAD, COLOUR_SPREAD = 2.0, 0.3  # smaller: parts of one thing are cut off
CUT_COST = 0.025  # of a normalised cut, up to which two parts are two things
LEAST_PART = 0.2  # of what is cut
CUTS = 2
MIDDLE = 0.2  # log-odds for the middle of a box
BINS = 12  # a colour, in the histograms
FILLED = 0.97  # of the rectangle around each of its pieces that a box fills
AROUND = 4  # pixels around what is not asked for that are painted over with it
CROWDED = 0.02  # share of the subject's area from which other things are worth a second look without them
HAIR = 0.08  # of the subject's size: how far soft alpha may reach beyond what surely belongs
TINY, FEW = 12, 49  # pixels of which no shape can be seen, or hardly any
DISC = 0.9  # IoU with a disc
DAB, BROAD = 0.004, 0.02  # of the picture: up to the first a round piece is a dot, up to the second it may be
GAP, AMPLE = 0.08, 2  # half the gap in an outline, of its longer side, and times its own area that it goes around
MUCH, LITTLE = 0.3, 0.05  # mean alpha of the larger and of another side of a line that the frame closes
LESS = 0.75  # times the alpha within it that an outline has under it at most
WITHIN = 0.75  # share of what is painted that must lie on what alpha shows
SMALL = 0.2  # share of what alpha shows there that a dot or a scribble covers at most
PAINTED = 0.6  # the same of what is painted with a broad brush
EXCEEDED = 0.5  # the same of what a network shows that was told it
SPANNED = 0.4  # of the size of the rectangle around something: that around strokes that reach over it
SOME, TEXTURED = 0.4, (0.7, 0.75)  # as EXCEEDED and HARDLY, of what reaches so far over what everything shows


def size_of(width: int, height: int) -> tuple[int, int]:
    """(height, width) here of a picture."""
    scale = SIDE / (width * height) ** 0.5
    return max(8, round(height * scale)), max(8, round(width * scale))


def solid(hint: np.ndarray) -> np.ndarray:
    """Where a hint says yes rather than no: at half its greatest value, or .5."""
    return hint > min(0.5, hint.max() / 2)


def is_box(inside: np.ndarray) -> bool:
    """Whether all pieces of the hint are filled rectangles of some size."""
    pieces, _ = ndimage.label(inside)
    places = ndimage.find_objects(pieces)
    areas = [(y.stop - y.start) * (x.stop - x.start) for y, x in places]
    return min(areas) > 25 and inside.sum() >= FILLED * sum(areas)


def is_thin(inside: np.ndarray) -> bool:
    """Whether a hint may be dots and scribbles: each piece thin itself, or small and round, whatever lies under it.
    Small and of another shape it is the mask of a small subject."""
    return all(_is_small(piece) or _is_line(piece) for piece in _pieces(inside))


def are_dots(inside: np.ndarray) -> bool:
    """Whether each piece of a hint is small and round, or too small to have a shape."""
    return all(map(_is_small, _pieces(inside)))


def _pieces(inside: np.ndarray) -> list[np.ndarray]:
    pieces, count = ndimage.label(inside, np.ones((3, 3)))
    return [pieces == label for label in range(1, count + 1)]


def _sides(inside: np.ndarray) -> tuple[int, int]:
    (place,) = ndimage.find_objects(inside.astype(int))
    rows, columns = (side.stop - side.start for side in place)
    return rows, columns


def _is_line(inside: np.ndarray) -> bool:
    return 2 * ndimage.distance_transform_edt(np.pad(inside, 1)).max() < 0.15 * max(_sides(inside))


def _is_small(inside: np.ndarray) -> bool:
    """Of no shape that can be seen, or small and round."""
    return bool(inside.sum() <= TINY or (_is_round(inside) and inside.mean() < DAB))


def _is_round(inside: np.ndarray) -> bool:
    longest, shortest = max(_sides(inside)), min(_sides(inside))
    even, filled = shortest > 0.7 * longest, inside.sum() / (longest * shortest)
    # A disc has .79 of its square, and a box all of it; of a few pixels only the sides can be seen.
    return bool(even and (inside.sum() <= FEW or 0.65 < filled < 0.92))


def is_disc(piece: np.ndarray) -> bool:
    """Whether a piece [h, w] bool of a hint is a disc, as near as pixels can be."""
    rows, columns = np.nonzero(piece)
    down, right = np.ogrid[: piece.shape[0], : piece.shape[1]]
    disc = np.hypot(down - rows.mean(), right - columns.mean()) <= (piece.sum() / np.pi) ** 0.5
    return bool((piece & disc).sum() > DISC * (piece | disc).sum())


def may_be_dabs(inside: np.ndarray) -> bool:
    """Whether a hint may be dots of a broad brush: each piece a disc, and larger than a dot is. A small ball's mask is
    like that too."""
    return all(DAB <= piece.mean() < BROAD and is_disc(piece) for piece in _pieces(inside))


def lies_within(inside: np.ndarray, alpha: np.ndarray, colours: np.ndarray, share: float = SMALL) -> bool:
    """Whether a hint's inside [h, w] bool lies in the midst of something that is larger, of which it covers less than a
    share, and has no edge there, by alpha [h, w] and colours [h, w, 3]."""
    return covers_little(inside, alpha, share) and _agreed(inside, colours, alpha) < OUTLINED


def edges_along(inside: np.ndarray, alpha: np.ndarray, colours: np.ndarray) -> tuple[float, float]:
    """The mean edge of alpha [h, w] and colours [h, w, 3], and of the colours alone, along the border of such strokes
    [h, w] bool, be it moved, grown or shrunk. The mask of a part, such as a bag that somebody carries, has edges of
    colours."""
    agreed = _agreed(inside, colours, alpha)
    return agreed, _agreed(inside, colours, alpha, 0) if agreed < TEXTURED[0] else 1.0


def may_be_painted(edges: tuple[float, float]) -> bool:
    """Whether strokes with such edges along their border may be painted on something, more or less of it.

    Of 185 masks of every kind 5 have less than STRAY, all of a drum kit; of 20 scribbles that are no thin lines none
    has more than .4. Of 129 masks of each kind 5 in a hundred have less than .51 to .57 in the colours alone, of
    129 scribbles 10 more than .51."""
    return edges[0] < STRAY and edges[1] < BARE


def is_exceeded(inside: np.ndarray, alpha: np.ndarray, edges: tuple[float, float]) -> bool:
    """Whether such strokes [h, w] bool are painted on something, by alpha [h, w] of a network that was told them as a
    mask: that shows much more there.

    Of 434 masks two cover less than half of what the network shows of them, of 25 painted ones that may_be_painted
    leaves out 16. Of masks of a part of something, three in 60 are read so, as by may_be_painted."""
    return edges[0] < HARDLY[0] and edges[1] < HARDLY[1] and covers_little(inside, alpha, EXCEEDED)


def may_reach_over(edges: tuple[float, float]) -> bool:
    """Whether strokes with such edges may be painted all over something with edges of its own, such as a pattern."""
    return edges[0] < TEXTURED[0] and edges[1] < TEXTURED[1]


def reaches_over(inside: np.ndarray, alpha: np.ndarray, colours: np.ndarray) -> bool:
    """Whether strokes [h, w] bool are, by alpha [h, w] of everything and colours [h, w, 3]: they cover little of it and
    reach over it. Of 516 masks one is read so, of 126 painted ones 32 more than without."""
    if not covers_little(inside, alpha, SOME):
        return False
    under = touched(alpha > 0.3, inside)
    reach = np.prod(_sides(inside & under)) / np.prod(_sides(under))
    return bool(reach > SPANNED**2) and may_reach_over(edges_along(inside, alpha, colours))


def covers_little(inside: np.ndarray, alpha: np.ndarray, share: float) -> bool:
    """Whether a hint's inside [h, w] bool lies on what alpha [h, w] shows, and on less than a share of that."""
    shown = alpha > 0.5
    return bool(shown[inside].mean() > WITHIN and inside.sum() < share * touched(shown, inside).sum())


def outlines(inside: np.ndarray, alpha: np.ndarray | None = None) -> list[np.ndarray]:
    """What lines of a hint's inside [h, w] bool go around, themselves included: [h, w] bool each. The frame closes a
    line that ends at it, an outline may be of several lines, and ends that nearly meet count as met. Without alpha
    [h, w] of everything the largest side of a line that the frame closes is taken to be its outside."""
    pieces = [piece for piece in _pieces(inside) if piece.sum() > FEW and _is_line(piece)]
    lines, around = np.logical_or.reduce([np.zeros_like(inside), *pieces]), []
    longest = max(map(max, map(_sides, pieces)), default=0)
    for gap in (1, max(2, round(GAP * longest))):
        enclosed = _parted_off(_dilated(lines, gap), alpha)
        for filled in _pieces(lines | _dilated(enclosed, gap)):
            if filled.sum() > (1 + AMPLE) * (filled & lines).sum():
                around.append(filled)
                lines = lines & ~filled
    return around


def _dilated(inside: np.ndarray, pixels: int) -> np.ndarray:
    return ndimage.binary_dilation(inside, np.ones((3, 3)), pixels) if inside.any() else inside


def _parted_off(line: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """What a line parts from its outside: the most of the picture [h, w] that reaches the frame, but where alpha shows
    much of that and nothing of another such part."""
    parts, _ = ndimage.label(~line)
    at_frame = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
    sides = sorted(at_frame[at_frame > 0], key=lambda part: (parts == part).sum(), reverse=True)
    if alpha is not None and len(sides) > 1:
        shown = ndimage.mean(alpha, parts, sides)
        if shown[0] > MUCH and shown.min() < LITTLE:
            sides = [sides[shown.argmin()]]
    return (parts > 0) & (parts != sides[0]) if sides else parts > 0


def surrounds(line: np.ndarray, filled: np.ndarray, alpha: np.ndarray, colours: np.ndarray) -> bool:
    """Whether a line [h, w] bool that goes around `filled` is drawn around something, and neither on it nor the mask of
    a ring, by alpha [h, w] of everything and colours [h, w, 3]."""
    on, within = alpha[line].mean(), alpha[filled & ~line].mean()
    return bool(on < LESS * within or (on < 0.1 and _agreed(line, colours, alpha) < OUTLINED))


def shreds(marks: np.ndarray, alpha: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Those of the pieces of marks [h, w] bool beside a mask that are its own after all, seen past what covers it:
    edges of alpha [h, w] of everything and of colours [h, w, 3] run along their border."""
    own = [piece for piece in _pieces(marks) if _agreed(piece, colours, alpha) > SHRED]
    return np.logical_or.reduce([np.zeros_like(marks), *own])


def kind_of(hint: np.ndarray, alpha: np.ndarray, colours: np.ndarray) -> str:
    """ "mask", "box" or "dot", of hint, alpha [h, w] and colours [h, w, 3]."""
    inside = solid(hint)
    if is_thin(inside):
        under = touched(alpha > 0.5, inside)
        covers = under.any() and inside.sum() >= SMALL * under.sum()
        if not covers and (are_dots(inside) or _agreed(inside, colours, alpha) < OUTLINED):
            return "dot"
    return "box" if is_box(inside) else "mask"


def _agreed(
    inside: np.ndarray, colours: np.ndarray, alpha: np.ndarray, edges_of_alpha: float = EDGES_OF_ALPHA
) -> float:
    """The mean edge under a mask's border, once it is laid right."""
    return laid_right(depth_of(inside), edges_of(colours, alpha, edges_of_alpha), inside.sum() ** 0.5)[1]


def touched(shown: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """The pieces of `shown` on which seeds lie."""
    pieces, count = ndimage.label(shown)
    hit = np.zeros(count + 1, bool)
    hit[pieces[seeds]] = True
    hit[0] = False
    return hit[pieces]


def unseen(hint: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The dots and scribbles of a hint [h, w] under which alpha [h, w] shows nothing."""
    inside = solid(hint)
    return inside & ~touched(inside, alpha > 0.5)


def said(colours: np.ndarray, alpha: np.ndarray, hint: np.ndarray, kind: str) -> np.ndarray:
    """Log-odds [h, w] that a pixel belongs to what is asked for, by hint of that kind and colours.

    colours [h, w, 3], alpha [h, w] of everything and hint [h, w], all 0..1.
    """
    return {"mask": _of_mask, "box": _of_box, "dot": _of_dot}[kind](colours, alpha, hint)


def chance(says: np.ndarray, alpha: np.ndarray, kind: str) -> np.ndarray:
    """0..1 that a pixel belongs to what is asked for, of what `said` gives and alpha."""
    return sigmoid(says + ALPHA[kind] * logit(alpha))


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def logit(chances: np.ndarray) -> np.ndarray:
    chances = chances.clip(0.02, 0.98)
    return np.log(chances / (1 - chances))


def depth_of(inside: np.ndarray) -> np.ndarray:
    """Pixels to the border, positive inside."""
    if inside.all():
        return np.full(inside.shape, float(max(inside.shape)))
    within, without = (ndimage.distance_transform_edt(part) for part in (inside, ~inside))
    return np.where(inside, within - 0.5, 0.5 - without)


def edges_of(colours: np.ndarray, alpha: np.ndarray, share: float) -> np.ndarray:
    """How much of an edge runs through a pixel, 0..1: in alpha, which counts for `share`, and in the colours."""
    steps = [_steps(plane) for plane in (*np.moveaxis(colours, 2, 0), alpha)]
    picture = np.max(steps[:3], axis=0)
    picture = picture / max(np.percentile(picture, 95), 1e-3)
    return share * np.minimum(steps[3] / 0.25, 1) + (1 - share) * np.minimum(picture, 1)


def _steps(plane: np.ndarray) -> np.ndarray:
    return np.hypot(*(ndimage.gaussian_filter(plane, 1, order) for order in ((0, 1), (1, 0))))


def colour_odds(colours: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Log-odds [h, w] of each pixel's colour among those of two weights [h, w]."""
    cells = np.minimum((colours * BINS).astype(int), BINS - 1) @ np.array([BINS * BINS, BINS, 1])

    def shares(weights: np.ndarray) -> np.ndarray:
        counts = np.bincount(cells.ravel(), weights.ravel(), BINS**3).reshape(BINS, BINS, BINS)
        return ndimage.gaussian_filter(counts, 1).ravel() / max(counts.sum(), 1e-6) + 1e-4

    return np.log(shares(inside) / shares(outside))[cells]


def _of_mask(colours: np.ndarray, alpha: np.ndarray, hint: np.ndarray) -> np.ndarray:
    inside = solid(hint)
    size = inside.sum() ** 0.5
    depth, agreed = _laid(depth_of(inside), colours, alpha, size)
    softness = _softness(hint, depth)
    doubt = size * (DOUBT + MORE_DOUBT * max(0.0, AGREED - agreed)) + SOFT_DOUBT * max(0.0, softness - 2)
    surely = depth > doubt if (depth > doubt).sum() > 20 else depth > 0
    odds = colour_odds(colours, surely, depth < -doubt).clip(-2, 2)
    trust = (depth / doubt).clip(-MOST_TRUST, MOST_TRUST)
    hole = (alpha < 0.2) & (odds < -1.5)  # the network sees a gap, and what is outside in it
    return TRUST * np.where(hole, trust.clip(max=1), trust) + COLOUR["mask"] * odds


def _laid(depth: np.ndarray, colours: np.ndarray, alpha: np.ndarray, size: float) -> tuple[np.ndarray, float]:
    """As laid_right, on edges of alpha and colours; where the network seems not to see the thing, such as one behind
    bars, on those of the colours alone if they fit better."""
    laid = laid_right(depth, edges_of(colours, alpha, EDGES_OF_ALPHA), size)
    shown, inside = alpha > 0.5, depth > 0
    if laid[1] >= BLIND or (shown & inside).sum() >= SEEN * (shown | inside).sum():
        return laid
    moved, agreed = laid_right(depth, edges_of(colours, alpha, 0), size)
    return (moved, agreed - ALONE) if agreed - ALONE > laid[1] else laid


def _softness(hint: np.ndarray, depth: np.ndarray) -> float:
    """The width of a hint's soft border, in pixels."""
    border = (np.abs(depth) < 1).sum() / 2
    return ((hint > 0.1) & (hint < 0.9)).sum() / max(border, 1)


def laid_right(depth: np.ndarray, edges: np.ndarray, size: float) -> tuple[np.ndarray, float]:
    """Depth of a mask, moved, grown or shrunk to where its border lies best on edges, and the mean edge there."""
    from scipy.fft import irfft2, next_fast_len, rfft2

    reach = max(1, round(REACH * size))
    shape = [next_fast_len(side + reach, real=True) for side in edges.shape]
    spectrum, steps = rfft2(edges, shape), np.arange(-reach, reach + 1)
    best = (-np.inf, 0.0, 0, 0, 0.0)
    grown = np.linspace(-reach, reach, STEPS)
    borders = [(1.25 - np.abs(depth + grow)).clip(0, 1) for grow in grown]
    least = max(8.0, LEFT * borders[STEPS // 2].sum())
    for grow, border in zip(grown, borders):
        if (length := border.sum()) < least:
            continue
        under = irfft2(spectrum * rfft2(border, shape).conj(), shape)[np.ix_(steps, steps)] / length
        worth = under - SLACK * (steps[:, None] ** 2 + steps**2 + grow**2) / size**2
        down, right = np.unravel_index(worth.argmax(), worth.shape)
        best = max(best, (worth[down, right], under[down, right], steps[down], steps[right], grow))
    _, agreed, down, right, grow = best
    return ndimage.shift(depth, (down, right), order=1, mode="nearest") + grow, agreed


def _of_box(colours: np.ndarray, alpha: np.ndarray, hint: np.ndarray) -> np.ndarray:
    inside = solid(hint)
    size = inside.sum() ** 0.5
    depth = depth_of(inside)
    middle = (depth / max(depth.max(), 1)).clip(0, 1)
    says = np.where(inside, MIDDLE * middle, -6 * (-depth / (0.02 * size)).clip(0, 1))
    other, core = (alpha > 0.5) & (depth < -0.01 * size), alpha * (0.2 + middle) > 0.4
    if other.sum() > 0.002 * other.size and core.any():
        edges = edges_of(colours, alpha, 0.3)
        nearer = np.log((1 + away(other, edges)) / (1 + away(core, edges)))
        says = says + nearer.clip(-3, 3) * (alpha > 0.3)
    belongs = chance(says, alpha, "box")
    for _ in range(3):
        odds = COLOUR["box"] * colour_odds(colours, belongs * inside, 1 - belongs).clip(-3, 3)
        belongs = chance(says + odds, alpha, "box")
    return says + odds


def _of_dot(colours: np.ndarray, alpha: np.ndarray, hint: np.ndarray) -> np.ndarray:
    seeds = ndimage.binary_dilation(solid(hint))
    piece = touched(alpha > 0.5, seeds)
    lost = ndimage.binary_dilation(unseen(seeds, alpha), iterations=5)  # the network sees nothing here
    if not piece.any():
        return np.where(lost, 4.0, -4.0)

    part = piece & touched(cut_off(colours, edges_of(colours, alpha, 0.6), piece, seeds), seeds)
    says = np.where(part, 2.0, np.where(piece, -2.0, -3.0))
    odds = COLOUR["dot"] * colour_odds(colours, part, (alpha < 0.3) | (piece & ~part)).clip(-2, 2)
    belongs = chance(says + odds, alpha, "dot")
    kept = touched(belongs > 0.5, seeds) | (belongs <= 0.5)
    return np.where(lost & ~piece, 4.0, np.where(kept, says + odds, -4.0))


def cut_off(colours: np.ndarray, edges: np.ndarray, piece: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """The part of a piece [h, w] that has most of the seeds, where it seems to be several things: cut where what hangs
    together is least (the normalised cut of Shi and Malik, 2000), for as long as that costs no more than CUT_COST. On
    every second pixel."""
    smooth = np.stack([ndimage.gaussian_filter(plane, 1) for plane in np.moveaxis(colours, 2, 0)], 2)[::2, ::2]
    edges, part = ndimage.maximum_filter(edges, 2)[::2, ::2], piece[::2, ::2]
    seeds = ndimage.maximum_filter(seeds, 3)[::2, ::2]
    for _ in range(CUTS):
        side = _cheap_cut(smooth, edges, part)
        if side is None:
            break
        part = max(part & side, part & ~side, key=lambda half: (half & seeds).sum())
    return _doubled(part, piece.shape)


def _doubled(small: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return np.repeat(np.repeat(small, 2, 0), 2, 1)[: shape[0], : shape[1]]


def _cheap_cut(colours: np.ndarray, edges: np.ndarray, part: np.ndarray) -> np.ndarray | None:
    """One side [h, w] of the best cut through a part [h, w]; None when it costs more than CUT_COST."""
    from scipy.sparse import diags
    from scipy.sparse.linalg import ArpackNoConvergence, eigsh

    if part.sum() < 30:
        return None
    links = _links(colours, edges, part)
    weight = np.asarray(links.sum(1)).ravel() + 1e-9
    scale = diags(weight**-0.5)
    start = np.sqrt(weight) * (1 + 0.1 * np.sin(np.arange(len(weight))))  # the same each time
    try:
        values, vectors = eigsh(scale @ links @ scale, k=2, which="LA", v0=start, tol=1e-3, maxiter=300)
    except ArpackNoConvergence:
        return None
    order = vectors[:, values.argmin()] * weight**-0.5
    best, chosen = CUT_COST, None
    for level in np.quantile(order, np.linspace(0.05, 0.95, 19)):
        above = order > level
        shares = weight[above].sum(), weight[~above].sum()
        if min(shares) < LEAST_PART * sum(shares):
            continue
        cost = links[above][:, ~above].sum() * (1 / shares[0] + 1 / shares[1])
        if cost < best:
            best, chosen = cost, above
    if chosen is None:
        return None
    side = np.zeros_like(part)
    side[part] = chosen
    return side


def _links(colours: np.ndarray, edges: np.ndarray, part: np.ndarray):
    """How firmly pixels of a part hang together that are at most about two apart: a sparse symmetric matrix."""
    from scipy.sparse import csr_matrix

    height, width = part.shape
    index = np.full(part.shape, -1)
    index[part] = np.arange(part.sum())
    row, column = np.nonzero(part)
    starts, stops, weights = [], [], []
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0), (2, 1), (2, -1), (1, 2), (1, -2)):
        there_row, there_column = row + down, column + right
        inside = (there_row < height) & (there_column >= 0) & (there_column < width)
        a, b = (row[inside], column[inside]), (there_row[inside], there_column[inside])
        both = part[b]
        a, b = tuple(axis[both] for axis in a), tuple(axis[both] for axis in b)
        between = (a[0] + b[0]) // 2, (a[1] + b[1]) // 2
        edge = np.maximum(np.maximum(edges[a], edges[b]), edges[between])
        unlike = ((colours[a] - colours[b]) ** 2).sum(1)
        weights.append(np.exp(-0.5 * (edge / EDGE_SPREAD) ** 2 - 0.5 * unlike / COLOUR_SPREAD**2) + 1e-5)
        starts.append(index[a])
        stops.append(index[b])
    entries = np.concatenate(weights), (np.concatenate(starts), np.concatenate(stops))
    links = csr_matrix(entries, shape=(len(row), len(row)))
    return links + links.T


def away(seeds: np.ndarray, edges: np.ndarray, price: float = 20.0) -> np.ndarray:
    """The length of the shortest path from the nearest seed to each pixel [h, w]; an edge of 1 costs `price` pixels.

    On every second pixel: in a quarter of the time.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import dijkstra

    height, width = seeds.shape
    seeds, cost = ndimage.maximum_filter(seeds, 2)[::2, ::2], 1 + price * edges[::2, ::2]
    if not seeds.any():
        return np.full((height, width), 1e6)
    index = np.arange(cost.size).reshape(cost.shape)
    pairs = [(index[:, :-1], index[:, 1:], 1), (index[:-1], index[1:], 1)]
    pairs += [(index[:-1, :-1], index[1:, 1:], 2**0.5), (index[:-1, 1:], index[1:, :-1], 2**0.5)]
    start, stop = (np.concatenate([pair[end].ravel() for pair in pairs]) for end in (0, 1))
    length = np.concatenate([np.full(a.size, step) for a, _, step in pairs])
    length = length * np.maximum(cost.ravel()[start], cost.ravel()[stop])
    graph = coo_matrix((length, (start, stop)), shape=(cost.size, cost.size)).tocsr()
    far = dijkstra(graph, directed=False, indices=np.flatnonzero(seeds), min_only=True).reshape(cost.shape)
    return _doubled(far, (height, width))


def _distances(belongs: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each pixel [h, w], to what is asked for and to what else is there: solid, and for certain not asked for."""
    asked = belongs > 0.5
    other = (alpha > 0.5) & ~asked
    other = touched(other, other & (belongs < 0.1))
    none = np.full(alpha.shape, 1e6)
    return tuple(ndimage.distance_transform_edt(~part) if part.any() else none for part in (asked, other))


def others_of(belongs: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Where something is that is not asked for, and a little around it: 0 or 1 [h, w]."""
    from_asked, from_other = _distances(belongs, alpha)
    other = (alpha > 0.1) & (from_other < from_asked) & (from_other < 1e6)
    if not other.any():
        return np.zeros(alpha.shape, np.float32)
    around = ndimage.distance_transform_edt(~other) <= AROUND
    return (around & (from_asked > 1)).astype(np.float32)


def is_crowded(others: np.ndarray, belongs: np.ndarray, alpha: np.ndarray) -> bool:
    """Whether what is not asked for is large enough, and near enough, to disturb the network."""
    asked = belongs > 0.5
    return asked.any() and (others * alpha).sum() > CROWDED * asked.sum()


def kept_and_lacked(alpha: np.ndarray, belongs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What of alpha belongs, and where it lacks what belongs: both float32 [h, w] 0..1.

    Soft alpha belongs to what is nearest, if anything is near: the hint did not see hair.
    """
    asked = belongs > 0.5
    from_asked, from_other = _distances(belongs, alpha)
    near = HAIR * max(1, asked.sum()) ** 0.5
    keep = ((from_other - from_asked) / 2 + 0.5).clip(0, 1) * (2 - from_asked / near).clip(0, 1)
    lacks = ndimage.maximum_filter(asked & (alpha < 0.5), 3)
    return keep.astype(np.float32), lacks.astype(np.float32)
