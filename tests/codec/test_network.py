import torch
from torch.nn import functional as F

from codec.network import quarter_cells


def test_cells_of_four_are_those_of_the_picture() -> None:
    eighths = torch.randn(2, 192, 5, 7)
    expected = F.pixel_unshuffle(F.pixel_shuffle(eighths, 8), 4)
    found = quarter_cells(eighths)
    assert torch.equal(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)
