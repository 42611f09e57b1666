"""What the page's results are compared with: the codec in float32."""

import numpy as np
import torch
from PIL import Image

from lapic import bitstream
from lapic.codec.decode import decoder
from lapic.codec.defaults import AUTO_MODEL
from lapic.codec.encode import encoder
from lapic.codec.model.codec_weights import load, load_by_id
from lapic.codec.model.shipped import model_for
from lapic.codec.picture import pillow, planes


def decode(data: bytes, scale: int = 1, realism: float = 0.0) -> np.ndarray:
    """The picture (h, w, 3) int16, alpha apart."""
    header, tiles = bitstream.read(data)
    model = load_by_id(header.model, "cpu", dtype=torch.float32)
    pixels = decoder.decode_pixels(model, header, tiles, decoder.View(scale, realism=realism))
    return np.asarray(Image.fromarray(pixels).convert("RGB")).astype(np.int16)


def encode(image: Image.Image, quality: float, name: str = AUTO_MODEL) -> bytes:
    """The file without a search, by the model of a name or the one for photos."""
    pixels, chunks = planes.simplify(*pillow.from_pil(image))
    model = load(model_for(name, quality, "eye"), "cpu", torch.float32)
    return encoder.encode_pixels(model, pixels, quality, chunks=chunks)
