"""restore and translate: images to images."""

from typing import TYPE_CHECKING, Any

from lapic.codec.api.types import ModelName
from lapic.codec.arguments import Progress
from lapic.codec.host import isolated

if TYPE_CHECKING:
    from PIL import Image


@isolated
def restore(
    image: "Image.Image",
    task: str = "auto",
    *,
    strength: float = 1.0,
    scale: int = 2,
    look: str = "faithful",
    device: str = "auto",
    progress: Progress | None = None,
) -> "Image.Image":
    """Repair a damaged image.

    Args:
        image: a Pillow image of any mode; 16-bit channels become 8-bit, alpha and metadata are kept.
        task: "jpeg" (traces of lossy compression), "denoise", "deblur", "upscale" (bicubic doubling, then the detail
            that it lacks) or "auto": jpeg for images read from lossy files, denoise where noise is visible, else jpeg.
        strength: 0 (change nothing) to 1.
        scale: 2 or 4, for upscale.
        look: "faithful" (the least error) or "realistic" (sharper, with texture that is likely but invented).
        device: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:N".
        progress: called as progress(done, total).

    Returns:
        An image of mode L, LA, RGB or RGBA. Colours under alpha 0 stay as they are; upscaled, they continue those
        around them.

    Raises:
        ValueError: task, strength, scale, look or device is not possible.
        TypeError: an argument is of a wrong type.
        Error: the image cannot be read, or the device is missing.
    """
    from lapic.codec import arguments
    from lapic.codec.model.codec_weights import pick_device
    from lapic.codec.restore import restoration

    arguments.one_of("task", task, ("auto", *restoration.RESTORERS))
    scale = arguments.one_of("scale", scale, (2, 4))
    arguments.one_of("look", look, tuple(restoration.LOOKS))
    strength, report = arguments.number("strength", strength, 0, 1), arguments.reporter(progress)
    lossy = restoration.is_lossy(image)  # which Pillow forgets when the pixels are read
    arguments.check_image(image)
    where = pick_device(device)

    def repair(pixels: Any) -> Any:
        chosen = restoration.pick_task(lossy, pixels) if task == "auto" else task
        return restoration.restore_pixels(pixels, chosen, where, strength, scale, look, report)

    return restoration.map_pixels(image, repair)


@isolated
def translate(
    image: "Image.Image",
    model: ModelName,
    *,
    strength: float = 1.0,
    device: str = "auto",
    progress: Progress | None = None,
) -> "Image.Image":
    """Translate an image into the style that a model has learned.

    Args:
        image: a Pillow image of any mode; alpha and metadata are kept.
        model: weights file of a translator or of an LPTN (`lapic-train translator` makes them), or "grey:FACTOR": the
            mean of the channels times a factor, clipped.
        strength: 0 (change nothing) to 1. Below 1 "grey:FACTOR" leaves colour images in colour.
        device: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:N".
        progress: called as progress(done, total).

    Raises:
        Error: the image or the model cannot be read, the image is too small for it, or the device is missing.
        ValueError: strength, factor or device is not possible.
        TypeError: an argument is of a wrong type.
    """
    from lapic.codec import arguments
    from lapic.codec.model import translator_weights
    from lapic.codec.model.codec_weights import pick_device
    from lapic.codec.restore import restoration, translation

    strength, report = arguments.number("strength", strength, 0, 1), arguments.reporter(progress)
    arguments.check_image(image)
    if isinstance(model, str) and model.startswith("grey:"):
        factor = translation.read_factor(model)
        return restoration.map_pixels(image, lambda pixels: translation.grey_density(pixels, factor, strength))
    loaded = translator_weights.load(model, pick_device(device))
    return restoration.map_pixels(
        image, lambda pixels: translation.translate_pixels(loaded, pixels, "", strength, report)
    )
