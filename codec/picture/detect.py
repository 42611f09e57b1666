"""Faces, text and whatever else draws the eye, found by OpenCV (extra `roi`), whose package holds all that it needs.

Faces are found by Haar cascades: Viola and Jones, "Rapid Object Detection using a Boosted Cascade of Simple Features",
CVPR 2001. Text is found as rows of maximally stable regions alike in height: Matas et al., "Robust Wide Baseline Stereo
from Maximally Stable Extremal Regions", BMVC 2002. Where neither is found, what draws the eye is taken to be what the
spectrum of the picture does not predict: Hou and Zhang, "Saliency Detection: A Spectral Residual Approach", CVPR 2007.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapic.bitstream import Error
from lapic.codec.picture.tiling import LATENT

KINDS = ("faces", "text", "auto")
EDGE = 1280  # longer edge, in pixels, of what detectors see of a larger picture
MARGIN = 0.15  # of a face's box on each side, which else ends within the face
NEIGHBOURS = 6  # that a face must be found at; fewer take more of what is no face for one
LETTERS = 4  # that make a row of text
SMALLEST_LETTER, LARGEST_LETTER = 6, 0.2  # height: pixels, and share of the picture's
SALIENT = 0.15  # share of a picture that is salient at most
NARROWEST = 3  # pixels, of what the detectors take

Box = tuple[float, float, float, float]  # x, y, width, height
Boxes = NDArray[np.float64]  # (N, 4)
Grey = NDArray[np.uint8]


def found(kind: str, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """How far each place of 16 x 16 pixels belongs to what a detector finds, (ceil(H/16), ceil(W/16)), 0..1; all 0 if
    it finds nothing, as in pictures too narrow for it.

    Args:
        kind: one of KINDS; "auto" is faces and text, and where there are none what is salient.
        pixels: (H, W, 3) or (H, W).

    Raises:
        Error: OpenCV is missing, or lacks a detector.
    """
    cv2 = _opencv()
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if pixels.ndim == 3 else pixels
    rows, columns = (-(-edge // LATENT) for edge in grey.shape)
    factor = min(1.0, EDGE / max(grey.shape))
    if round(factor * min(grey.shape)) < NARROWEST:
        return np.zeros((rows, columns))
    small = cv2.resize(grey, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA) if factor < 1 else grey
    small = np.ascontiguousarray(small)
    boxes: list[Box] = []
    if kind in ("faces", "auto"):
        boxes += _faces(cv2, small)
    if kind in ("text", "auto"):
        boxes += _text(cv2, small)
    mask = np.zeros(small.shape, np.uint8)
    for x, y, width, height in boxes:
        cv2.rectangle(mask, (int(x), int(y)), (round(x + width) - 1, round(y + height) - 1), 255, cv2.FILLED)
    if kind == "auto" and not boxes:
        mask = _salient(cv2, small)
    whole = cv2.resize(mask, grey.shape[::-1], interpolation=cv2.INTER_LINEAR)
    padded = np.pad(whole, [(0, -edge % LATENT) for edge in grey.shape], mode="edge")
    return padded.reshape(rows, LATENT, columns, LATENT).mean((1, 3)) / 255


def _opencv() -> Any:
    """The module cv2. Raises `Error` unless it is there with cascades and saliency, which other builds lack."""
    missing = "faces, text and auto need OpenCV with its cascades: pip install 'lapic[roi]'"
    try:
        import cv2
    except ImportError:
        raise Error(missing) from None
    if not all(hasattr(cv2, name) for name in ("CascadeClassifier", "saliency", "data")):
        raise Error(missing)
    return cv2


def _faces(cv2: Any, grey: Grey) -> list[Box]:
    """The boxes of faces, seen from the front or from either side, each with a margin."""
    flat = cv2.equalizeHist(grey)
    smallest = max(24, min(grey.shape) // 24)
    boxes: list[Box] = []
    for name, flipped in (("frontalface_default", False), ("profileface", False), ("profileface", True)):
        cascade = cv2.CascadeClassifier(f"{cv2.data.haarcascades}haarcascade_{name}.xml")
        if cascade.empty():
            raise Error("faces need OpenCV with its cascades: pip install 'lapic[roi]'")
        seen = np.ascontiguousarray(flat[:, ::-1]) if flipped else flat
        for x, y, width, height in cascade.detectMultiScale(seen, 1.1, NEIGHBOURS, minSize=(smallest, smallest)):
            left = grey.shape[1] - x - width if flipped else x
            boxes.append((left, y, width, height))
    return [_grown(box, MARGIN * box[2], grey.shape) for box in boxes]


def _text(cv2: Any, grey: Grey) -> list[Box]:
    """The boxes of rows of text."""
    letters = {box for box in _letters(cv2, grey) if SMALLEST_LETTER <= box[3] <= LARGEST_LETTER * grey.shape[0]}
    rows: list[list[Box]] = []
    last = np.empty((len(letters), 4))  # letter of each row
    for letter in sorted(letters):
        before = np.flatnonzero(_continues(last[: len(rows)], letter))
        if not len(before):
            rows.append([letter])
            last[len(rows) - 1] = letter
        elif letter[0] >= last[before[-1], 0] + last[before[-1], 2] / 2:  # beside the last one, not within it
            rows[before[-1]].append(letter)
            last[before[-1]] = letter
    boxes = [_around(row) for row in rows if len(row) >= LETTERS]
    return [_grown(box, box[3] / 4, grey.shape) for box in boxes]


def _letters(cv2: Any, grey: Grey) -> Iterable[Box]:
    """The boxes of stable regions of the shape that letters have."""
    stable = cv2.MSER_create(delta=8, min_area=20, max_area=max(21, grey.size // 50), max_variation=0.2)
    points, boxes = stable.detectRegions(grey)
    for region, (x, y, width, height) in zip(points, boxes, strict=True):
        if 0.1 <= width / height <= 1.6 and 0.2 <= len(region) / (width * height) <= 0.95:
            yield int(x), int(y), int(width), int(height)


def _continues(last: Boxes, letter: Box) -> NDArray[np.bool_]:
    """Whether a letter stands in a row behind each of others: alike in height, at the same height, and close."""
    left, top, width, height = last.T
    ratio, larger = letter[3] / height, np.maximum(letter[3], height)
    level = np.abs(letter[1] + letter[3] / 2 - top - height / 2) <= 0.3 * larger
    return (ratio >= 0.65) & (ratio <= 1.55) & level & (letter[0] <= left + width + 0.8 * larger)


def _around(boxes: list[Box]) -> Box:
    """The box around some boxes."""
    left, top = min(x for x, _, _, _ in boxes), min(y for _, y, _, _ in boxes)
    return left, top, max(x + w for x, _, w, _ in boxes) - left, max(y + h for _, y, _, h in boxes) - top


def _grown(box: Box, margin: float, shape: tuple[int, ...]) -> Box:
    """A box with a margin on each side, as far as the picture goes."""
    x, y, width, height = box
    left, top = max(0.0, x - margin), max(0.0, y - margin)
    return left, top, min(x + width + margin, shape[1]) - left, min(y + height + margin, shape[0]) - top


def _salient(cv2: Any, grey: Grey) -> NDArray[np.uint8]:
    """A mask of what is salient: 255 for the SALIENT part of the picture, less around it."""
    _, saliency = cv2.saliency.StaticSaliencySpectralResidual_create().computeSaliency(grey)
    saliency = cv2.GaussianBlur(saliency.astype(np.float32), (0, 0), max(grey.shape) / 32)
    low, high = np.quantile(saliency, [1 - 2 * SALIENT, 1 - SALIENT])
    return (255 * ((saliency - low) / max(high - low, 1e-6)).clip(0, 1)).astype(np.uint8)
