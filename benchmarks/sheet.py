"""Labelled pictures in rows and columns, as one picture to look at."""

from PIL import Image, ImageDraw

GAP, TITLE = 4, 24
Row = list[tuple[str, Image.Image]]  # labels and pictures


def sheet(rows: list[Row], zoom: int = 1) -> Image.Image:
    """Rows of labelled pictures, all of a row of one size, each pixel shown as `zoom` x `zoom`."""
    width = max(sum(image.width * zoom + GAP for _, image in row) - GAP for row in rows)
    height = sum(row[0][1].height * zoom + TITLE for row in rows)
    made, top = Image.new("RGB", (width, height), "white"), 0
    for row in rows:
        left = 0
        for label, image in row:
            size = (image.width * zoom, image.height * zoom)
            made.paste(image.convert("RGB").resize(size, Image.Resampling.NEAREST), (left, top + TITLE))
            ImageDraw.Draw(made).text((left + GAP, top + GAP), label, fill="black", font_size=14)
            left += size[0] + GAP
        top += row[0][1].height * zoom + TITLE
    return made
