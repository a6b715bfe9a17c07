"""One block of a K-quant or a ternary type, quantized number by number in plain Python.

The slow twin of quants/scale_search.py, quantize_k.py and quantize_ternary.py. Every operation of
two float32 numbers is done in float64 and rounded once, which gives what float32 gives.
"""

from __future__ import annotations

import math
import struct

from helpers.reference_blocks import f32


def quantized_k_block(name: str, numbers: list[float]) -> bytes:
    """256 numbers as the bytes of one block."""
    return _WRITERS[name](numbers)


def _over(a: float, b: float) -> float:
    """a / b in float32, with the infinities and NaNs of IEEE 754."""
    if b == 0:
        return math.nan if a == 0 else math.copysign(math.inf, a) * math.copysign(1, b)
    return f32(a / b)


def _times(*factors: float) -> float:
    product = factors[0]
    for factor in factors[1:]:
        product = f32(product * factor)
    return product


def _plus(a: float, b: float) -> float:
    return f32(a + b)


def _total(terms) -> float:
    total = 0.0
    for term in terms:
        total = _plus(total, term)
    return total


def _nearest(x: float) -> int:
    bits = struct.unpack("I", struct.pack("f", _plus(x, 12582912.0)))[0]
    return (bits & 0x7FFFFF) - 0x400000


def _within(x: float, lowest: int, highest: int) -> int:
    return max(lowest, min(highest, _nearest(x)))


def _signed_byte(x: int) -> int:
    return (x + 128) % 256 - 128


def _half(x: float) -> tuple[bytes, float]:
    raw = struct.pack("<e", x)
    return raw, struct.unpack("<e", raw)[0]


def _largest(numbers: list[float]) -> float:
    largest = 0.0
    for x in numbers:
        largest = x if abs(x) > abs(largest) else largest
    return largest


EPS = f32(1e-15)
TENTH = f32(0.1)


def _range(x, weights, highest, first, n_tries, absolute):
    """(scale, minimum, codes) of one group."""
    low, high = min(min(x), 0.0), max(x)
    if low == high:
        return 0.0, -low, [0] * len(x)
    total = _total(weights)
    total_x = _total(_times(w, v) for w, v in zip(weights, x, strict=True))

    def error(codes, scale, minimum):
        terms = []
        for code, v, w in zip(codes, x, weights, strict=True):
            off = _plus(_plus(_times(scale, code), minimum), -v)
            terms.append(_times(w, abs(off) if absolute else _times(off, off)))
        return _total(terms)

    def codes_by(factor):
        return [_within(_times(factor, _plus(v, -low)), 0, highest) for v in x]

    factor = _over(highest, _plus(high, -low))
    scale = _over(1, factor)
    codes = codes_by(factor)
    best = error(codes, scale, low)
    for i in range(n_tries):
        stretched = _plus(_plus(first, _times(TENTH, i)), highest)
        trial = codes_by(_over(stretched, _plus(high, -low)))
        pairs = list(zip(trial, weights, x, strict=True))
        s1 = _total(_times(w, code) for code, w, _ in pairs)
        s2 = _total(_times(w, code, code) for code, w, _ in pairs)
        sx = _total(_times(w, code, v) for code, w, v in pairs)
        determinant = _plus(_times(total, s2), -_times(s1, s1))
        if not determinant > 0:
            continue
        slope = _over(_plus(_times(total, sx), -_times(total_x, s1)), determinant)
        base = _over(_plus(_times(s2, total_x), -_times(s1, sx)), determinant)
        if base > 0:
            slope, base = _over(sx, s2), 0.0
        found = error(trial, slope, base)
        if found < best:
            best, scale, low, codes = found, slope, base, trial
    return scale, -low, codes


def _in_units(sizes, highest):
    largest = 0.0
    for size in sizes:
        largest = size if size > largest else largest
    factor = _over(highest, largest) if largest > 0 else 0.0
    return [_nearest(_times(factor, size)) & 255 for size in sizes], _half(_over(largest, highest))


def _above_minimum(numbers, found, scales, minimums, unit, minimum_unit, highest):
    size = len(numbers) // len(found)
    codes = []
    for g, (_, _, kept) in enumerate(found):
        scale, minimum = _times(unit, scales[g]), _times(minimum_unit, minimums[g])
        group = numbers[size * g : size * g + size]
        if scale:
            kept = [_within(_over(_plus(x, minimum), scale), 0, highest) for x in group]
        codes += kept
    return codes


def _q2_k(numbers):
    found = []
    for g in range(0, 256, 16):
        group = numbers[g : g + 16]
        found.append(_range(group, [abs(x) for x in group], 3, -0.5, 16, True))
    scales, (raw_unit, unit) = _in_units([scale for scale, _, _ in found], 15)
    minimums, (raw_minimum, minimum) = _in_units([low for _, low, _ in found], 15)
    packed = [(a | b << 4) & 255 for a, b in zip(scales, minimums, strict=True)]
    scales, minimums = [p & 15 for p in packed], [p >> 4 for p in packed]
    codes = _above_minimum(numbers, found, scales, minimums, unit, minimum, 3)
    return bytes(packed) + _two_bits(codes) + raw_unit + raw_minimum


def _six_bits(numbers, highest, first, n_tries):
    """(head of the block, codes) of q4_k and q5_k."""
    found = []
    for g in range(0, 256, 32):
        group = numbers[g : g + 32]
        mean = f32(math.sqrt(_over(_total(_times(x, x) for x in group), 32)))
        weights = [_plus(mean, abs(x)) for x in group]
        found.append(_range(group, weights, highest, first, n_tries, False))
    scales, (raw_unit, unit) = _in_units([scale for scale, _, _ in found], 63)
    minimums, (raw_minimum, minimum) = _in_units([low for _, low, _ in found], 63)
    scales, minimums = [min(63, s) for s in scales], [min(63, m) for m in minimums]
    codes = _above_minimum(numbers, found, scales, minimums, unit, minimum, highest)
    packed = [scales[g] | scales[g + 4] >> 4 << 6 for g in range(4)]
    packed += [minimums[g] | minimums[g + 4] >> 4 << 6 for g in range(4)]
    packed += [scales[g] & 15 | (minimums[g] & 15) << 4 for g in range(4, 8)]
    return raw_unit + raw_minimum + bytes(packed), codes


def _nibbles(codes):
    return bytes(
        codes[64 * pair + i] & 15 | (codes[64 * pair + 32 + i] & 15) << 4
        for pair in range(4)
        for i in range(32)
    )


def _two_bits(codes):
    return bytes(
        sum((codes[128 * half + 32 * k + i] & 3) << 2 * k for k in range(4))
        for half in range(2)
        for i in range(32)
    )


def _one_bit(codes, bit):
    return bytes(sum((codes[32 * k + i] >> bit & 1) << k for k in range(8)) for i in range(32))


def _q4_k(numbers):
    head, codes = _six_bits(numbers, 15, -1.0, 21)
    return head + _nibbles(codes)


def _q5_k(numbers):
    head, codes = _six_bits(numbers, 31, -0.5, 16)
    return head + _one_bit(codes, 4) + _nibbles(codes)


def _refined(x):
    """(scale, codes + 4) of one group of q3_k."""
    largest = _largest(x)
    if abs(largest) < EPS:
        return 0.0, [0] * 16
    codes = [_within(_times(_over(-4, largest), v), -4, 3) for v in x]
    weights = [_times(v, v) for v in x]
    sx = _total(_times(w, v, code) for w, v, code in zip(weights, x, codes, strict=True))
    s2 = _total(_times(w, code, code) for w, code in zip(weights, codes, strict=True))
    for _ in range(5):
        before = list(codes)
        for i, (v, w) in enumerate(zip(x, weights, strict=True)):
            rest_x = _plus(sx, -_times(w, v, codes[i]))
            rest_2 = _plus(s2, -_times(w, codes[i], codes[i]))
            if not rest_x > 0:
                continue
            code = _within(_over(_times(v, rest_2), rest_x), -4, 3)
            new_x, new_2 = _plus(rest_x, _times(w, v, code)), _plus(rest_2, _times(w, code, code))
            if code != codes[i] and new_2 > 0 and _times(new_x, new_x, s2) > _times(sx, sx, new_2):
                codes[i], sx, s2 = code, new_x, new_2
        if codes == before:
            break
    return (_over(sx, s2) if s2 > 0 else 0.0), [code + 4 for code in codes]


def _around_zero(numbers, found, units, half):
    codes = []
    for g, (_, kept) in enumerate(found):
        if units[g]:
            group = numbers[16 * g : 16 * g + 16]
            kept = [_within(_over(x, units[g]), -half, half - 1) + half for x in group]
        codes += kept
    return codes


def _q3_k(numbers):
    found = [_refined(numbers[g : g + 16]) for g in range(0, 256, 16)]
    largest = _largest([scale for scale, _ in found])
    scales, (raw_unit, unit) = [-32] * 16, _half(0.0)
    if largest:
        factor = _over(-32, largest)
        raw_unit, unit = _half(_over(1, factor))
        scales = [_signed_byte(_nearest(_times(factor, scale))) for scale, _ in found]
        scales = [max(-32, min(31, scale)) for scale in scales]
    codes = _around_zero(numbers, found, [_times(unit, scale) for scale in scales], 4)
    bits = [scale + 32 for scale in scales]
    packed = [bits[g] & 15 | (bits[g + 8] & 15) << 4 for g in range(8)]
    packed += [sum((bits[4 * k + g] >> 4) << 2 * k for k in range(4)) for g in range(4)]
    return _one_bit(codes, 2) + _two_bits(codes) + bytes(packed) + raw_unit


def _symmetric(x):
    """(scale, codes + 32) of one group of q6_k."""
    largest = _largest(x)
    if abs(largest) < EPS:
        return 0.0, [0] * 16
    scale, best, codes = 0.0, 0.0, []
    for i in (0, *range(-9, 0), *range(1, 10)):
        factor = _over(-_plus(32, _times(TENTH, i)), largest)
        trial = [_within(_times(factor, v), -32, 31) for v in x]
        sx = _total(_times(v, v, v, code) for v, code in zip(x, trial, strict=True))
        s2 = _total(_times(v, v, code, code) for v, code in zip(x, trial, strict=True))
        if i == 0:
            scale = _over(sx, s2) if s2 else 0.0
            best, codes = _times(scale, sx), trial
        elif s2 > 0 and _times(sx, sx) > _times(best, s2):
            scale = _over(sx, s2)
            best, codes = _times(scale, sx), trial
    return scale, [code + 32 for code in codes]


def _q6_k(numbers):
    found = [_symmetric(numbers[g : g + 16]) for g in range(0, 256, 16)]
    largest = _largest([scale for scale, _ in found])
    if abs(largest) < EPS:
        return bytes(210)
    factor = _over(-128, largest)
    raw_unit, unit = _half(_over(1, factor))
    scales = [_signed_byte(min(127, _nearest(_times(factor, scale)))) for scale, _ in found]
    codes = _around_zero(numbers, found, [_times(unit, scale) for scale in scales], 32)
    low = bytes(
        codes[128 * half + i] & 15 | (codes[128 * half + 64 + i] & 15) << 4
        for half in range(2)
        for i in range(64)
    )
    return low + _two_bits([code >> 4 for code in codes]) + struct.pack("16b", *scales) + raw_unit


def _ternary(numbers):
    """(raw scale, digits 0 to 2)."""
    largest = abs(_largest(numbers))
    inverse = _over(1, largest) if largest else 0.0
    digits = []
    for x in numbers:
        share = _times(x, inverse)
        away = math.copysign(math.floor(abs(share) + 0.5), share) if math.isfinite(share) else 0
        digits.append(int(away) + 1)
    return _half(largest)[0], digits


def _tq1_0(numbers):
    raw_scale, digits = _ternary(numbers)
    packed = []
    for start, n_bytes, n_digits in ((0, 32, 5), (160, 16, 5), (240, 4, 4)):
        for i in range(n_bytes):
            number = 0
            for k in range(5):
                digit = digits[start + k * n_bytes + i] if k < n_digits else 0
                number = 3 * number + digit
            packed.append(math.ceil(number * 256 / 243))
    return bytes(packed) + raw_scale


def _tq2_0(numbers):
    raw_scale, digits = _ternary(numbers)
    return _two_bits(digits) + raw_scale


_WRITERS = {
    "q2_k": _q2_k, "q3_k": _q3_k, "q4_k": _q4_k, "q5_k": _q5_k, "q6_k": _q6_k,
    "tq1_0": _tq1_0, "tq2_0": _tq2_0,
}  # fmt: skip
