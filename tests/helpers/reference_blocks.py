"""The stored number types one number at a time, in plain Python: slow, and judge of the fast code.

Written from the layouts (bytes, shifts and masks), not from llama_edu: every product and sum is
made in double precision and rounded to float32 once, which is exact for two float32 operands.
`order` is "<" or ">", the byte order in which fields of several bytes are stored.
"""

from __future__ import annotations

import math
import struct

#: type: (format of the scales, has a minimum, has fifth bits, numbers per block, nibble order)
FOUR_AND_FIVE_BITS = {
    "q4_0": ("e", False, False, 32, "halves"),
    "q4_1": ("e", True, False, 32, "halves"),
    "q5_0": ("e", False, True, 32, "halves"),
    "q5_1": ("e", True, True, 32, "halves"),
    "q4_0_v2": ("f", False, False, 32, "halves"),
    "q4_1_v2": ("f", True, False, 32, "halves"),
    "q4_0_v1": ("f", False, False, 32, "pairs"),
    "q4_1_v1": ("f", True, False, 32, "pairs"),
    "q4_2": ("e", False, False, 16, "pairs"),
    "q4_3": ("e", True, False, 16, "pairs"),
    "q5_0_v1": ("e", False, True, 32, "pairs"),
    "q5_1_v1": ("e", True, True, 32, "pairs"),
}
UNEVEN = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
#: In OCP's table code 8 is -0.0; ggml keeps the values as integers, which have no such number.
E2M1 = (0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6)
PLAIN = {"f32": "f", "f16": "e", "f64": "d", "i8": "b", "i16": "h", "i32": "i", "i64": "q"}


def f32(value: float) -> float:
    """The nearest float32, as a Python float."""
    try:
        return struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)


def block_numbers(name: str, raw: bytes, order: str = "<") -> list[float]:
    """The numbers of one stored block (or of one plain number)."""
    if name in PLAIN:
        return [f32(struct.unpack(order + PLAIN[name], raw)[0])]
    if name == "bf16":
        upper = struct.unpack(order + "H", raw)[0]
        return [struct.unpack("<f", struct.pack("<I", upper << 16))[0]]
    if name in FOUR_AND_FIVE_BITS:
        return _four_or_five_bits(raw, order, *FOUR_AND_FIVE_BITS[name])
    if name in ("q8_0", "q8_0_v2"):
        form = "e" if name == "q8_0" else "f"
        scale, *codes = struct.unpack(f"{order}{form}32b", raw)
        return [f32(code * scale) for code in codes]
    return {
        "q2_k": _q2_k, "q3_k": _q3_k, "q4_k": _q4_k, "q5_k": _q5_k, "q6_k": _q6_k,
        "iq4_nl": _iq4_nl, "iq4_xs": _iq4_xs, "tq1_0": _tq1_0, "tq2_0": _tq2_0, "mxfp4": _mxfp4,
    }[name](raw, order)  # fmt: skip


def _halves(raw: bytes, at: int, order: str) -> float:
    return struct.unpack_from(order + "e", raw, at)[0]


def _four_or_five_bits(raw, order, form, has_minimum, has_fifth, n, nibble_order):
    at = struct.calcsize("<" + form)
    scale = struct.unpack_from(order + form, raw, 0)[0]
    if has_minimum:
        minimum = struct.unpack_from(order + form, raw, at)[0]
        at *= 2
    word = 0
    if has_fifth:
        word = struct.unpack_from(order + "I", raw, at)[0]
        at += 4
    numbers = []
    for i in range(n):
        if nibble_order == "pairs":
            code = raw[at + i // 2] >> (4 * (i % 2)) & 15
        else:
            code = raw[at + i % (n // 2)] >> (4 * (i // (n // 2))) & 15
        code += 16 * (word >> i & 1)
        if has_minimum:
            numbers.append(f32(f32(code * scale) + minimum))
        else:
            numbers.append(f32((code - (16 if has_fifth else 8)) * scale))
    return numbers


def _q2_k(raw, order):
    scale, minimum = _halves(raw, 80, order), _halves(raw, 82, order)
    numbers = []
    for i in range(256):
        half, k, place = i // 128, i % 128 // 32, i % 32
        code = raw[16 + 32 * half + place] >> (2 * k) & 3
        packed = raw[i // 16]
        numbers.append(f32(f32(f32(scale * (packed & 15)) * code) - f32(minimum * (packed >> 4))))
    return numbers


def _q3_k(raw, order):
    masks, codes, packed, scale = raw[:32], raw[32:96], raw[96:108], _halves(raw, 108, order)
    numbers = []
    for i in range(256):
        half, k, place, group = i // 128, i % 128 // 32, i % 32, i // 16
        code = codes[32 * half + place] >> (2 * k) & 3
        if not masks[place] >> (4 * half + k) & 1:
            code -= 4
        low = packed[group] & 15 if group < 8 else packed[group - 8] >> 4
        six_bits = low | (packed[8 + group % 4] >> (2 * (group // 4)) & 3) << 4
        numbers.append(f32(f32(scale * (six_bits - 32)) * code))
    return numbers


def _six_bits(packed, group):
    """(scale, minimum) of one of the eight groups of q4_k and q5_k."""
    if group < 4:
        return packed[group] & 63, packed[group + 4] & 63
    last = packed[group + 4]
    return (last & 15) | packed[group - 4] >> 6 << 4, last >> 4 | packed[group] >> 6 << 4


def _q4_k(raw, order, high=bytes(32), nibbles_at=16):
    scale, minimum = _halves(raw, 0, order), _halves(raw, 2, order)
    numbers = []
    for i in range(256):
        group, place = i // 32, i % 32
        code = raw[nibbles_at + 32 * (group // 2) + place] >> (4 * (group % 2)) & 15
        code += 16 * (high[place] >> group & 1)
        factor, shift = _six_bits(raw[4:16], group)
        numbers.append(f32(f32(f32(scale * factor) * code) - f32(minimum * shift)))
    return numbers


def _q5_k(raw, order):
    return _q4_k(raw, order, high=raw[16:48], nibbles_at=48)


def _q6_k(raw, order):
    scale = _halves(raw, 208, order)
    scales = struct.unpack("16b", raw[192:208])
    numbers = [0.0] * 256
    for half in range(2):
        low, high = raw[64 * half : 64 * half + 64], raw[128 + 32 * half : 160 + 32 * half]
        for place in range(32):
            codes = (
                low[place] & 15 | (high[place] & 3) << 4,
                low[place + 32] & 15 | (high[place] >> 2 & 3) << 4,
                low[place] >> 4 | (high[place] >> 4 & 3) << 4,
                low[place + 32] >> 4 | (high[place] >> 6) << 4,
            )
            for k, code in enumerate(codes):
                i = 128 * half + 32 * k + place
                numbers[i] = f32(f32(scale * scales[i // 16]) * (code - 32))
    return numbers


def _iq4_nl(raw, order):
    scale = _halves(raw, 0, order)
    return [f32(scale * UNEVEN[raw[2 + i % 16] >> (4 * (i // 16)) & 15]) for i in range(32)]


def _iq4_xs(raw, order):
    scale, high = _halves(raw, 0, order), struct.unpack_from(order + "H", raw, 2)[0]
    numbers = []
    for i in range(256):
        group, place = i // 32, i % 32
        low = raw[4 + group // 2] >> (4 * (group % 2)) & 15
        factor = f32(scale * ((low | (high >> (2 * group) & 3) << 4) - 32))
        code = raw[8 + 16 * group + place % 16] >> (4 * (place // 16)) & 15
        numbers.append(f32(factor * UNEVEN[code]))
    return numbers


def _tq1_0(raw, order):
    scale = _halves(raw, 52, order)
    numbers = []
    for start, n_bytes, n_digits in ((0, 32, 5), (32, 16, 5), (48, 4, 4)):
        for digit in range(n_digits):
            for place in range(n_bytes):
                rest = raw[start + place] * 3**digit % 256
                numbers.append(f32(scale * (rest * 3 // 256 - 1)))
    return numbers


def _tq2_0(raw, order):
    scale = _halves(raw, 64, order)
    return [
        f32(scale * ((raw[32 * (i // 128) + i % 32] >> (2 * (i % 128 // 32)) & 3) - 1))
        for i in range(256)
    ]


def _mxfp4(raw, order):
    return [
        f32(E2M1[raw[1 + i % 16] >> (4 * (i // 16)) & 15] * 2.0 ** (raw[0] - 127))
        for i in range(32)
    ]


def quantized_block(name: str, numbers: list[float], rules: str | None = None) -> bytes:
    """One block in little-endian bytes, by the rules of the C routines, step by step."""
    if name in ("q8_0", "q8_0_v2"):
        scale = f32(max(abs(x) for x in numbers) / 127)
        codes = [_c_cast(_roundf(_times(x, _reciprocal(scale)))) for x in numbers]
        return struct.pack("<" + ("e" if name == "q8_0" else "f") + "32b", scale, *codes)
    form, has_minimum, has_fifth, n, nibble_order = FOUR_AND_FIVE_BITS[name]
    if has_minimum:
        highest = 31 if has_fifth else 15
        minimum, largest = numbers[0], numbers[0]
        for x in numbers:
            minimum, largest = x if x < minimum else minimum, x if x > largest else largest
        scale = f32(f32(largest - minimum) / highest)
        scaled = [_times(f32(x - minimum), _reciprocal(scale)) for x in numbers]
        if name == "q4_1_v1":
            codes = [_c_cast(_roundf(x)) for x in scaled]
        else:
            codes = [min(highest, _c_cast(f32(x + 0.5))) for x in scaled]
        head = struct.pack(f"<2{form}", scale, minimum)
    else:
        largest = 0.0
        for x in numbers:
            largest = x if abs(x) > abs(largest) else largest
        half = 16 if has_fifth else 8
        if name == "q4_0_v1" and rules != "#729":
            scale = f32(abs(largest) / 7)
        else:
            scale = f32(largest / -half)
        scaled = [_times(x, _reciprocal(scale)) for x in numbers]
        if name == "q4_0_v1":
            codes = [min(15, _c_cast(_roundf(x)) + 8) for x in scaled]
        else:
            codes = [min(2 * half - 1, _c_cast(f32(x + half + 0.5))) for x in scaled]
        head = struct.pack("<" + form, scale)
    if has_fifth:
        head += struct.pack("<I", sum((code >> 4) << i for i, code in enumerate(codes)))
    low = [code & 15 for code in codes]
    step = 1 if nibble_order == "pairs" else n // 2
    starts = range(0, n, 2) if nibble_order == "pairs" else range(n // 2)
    return head + bytes(low[i] | low[i + step] << 4 for i in starts)


def _reciprocal(scale: float) -> float:
    if scale == 0:
        return 0.0
    return f32(1 / scale)


def _times(x: float, y: float) -> float:
    return f32(x * y)


def _roundf(x: float) -> float:
    return math.copysign(math.floor(abs(x) + 0.5), x) if math.isfinite(x) else x


def _c_cast(x: float) -> int:
    return math.trunc(x) if math.isfinite(x) else 0
