import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from duoscan.phantom.png import grey_png


@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=20), elements=st.integers(0, 255)))
def test_a_reader_gets_back_every_pixel(image):
    with Image.open(io.BytesIO(grey_png(image))) as read:
        read.load()
        assert read.mode == "L"
        np.testing.assert_array_equal(np.asarray(read), image)
