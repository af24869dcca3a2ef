//! G.711 µ-law and A-law, by the segments of ITU-T G.711.

pub(super) fn to_ulaw(sample: i16) -> u8 {
    const BIAS: i32 = 132;
    const CLIP: i32 = 32_635;
    let value = i32::from(sample);
    let sign: u8 = if value < 0 { 0x80 } else { 0 };
    let magnitude = value.abs().min(CLIP) + BIAS;
    // The segment is the place of the highest bit above bit 7.
    let segment = 31 - magnitude.leading_zeros() as i32 - 7;
    let mantissa = (magnitude >> (segment + 3)) & 0x0f;
    let code = u8::try_from(segment << 4 | mantissa).unwrap_or(0x7f);
    !(sign | code)
}

pub(super) fn from_ulaw(byte: u8) -> i16 {
    let code = !byte;
    let segment = i32::from(code >> 4 & 7);
    let mantissa = i32::from(code & 0x0f);
    let magnitude = ((mantissa << 3 | 0x84) << segment) - 0x84;
    signed(magnitude, code & 0x80 != 0)
}

pub(super) fn to_alaw(sample: i16) -> u8 {
    let value = i32::from(sample);
    let positive = value >= 0;
    let magnitude = if positive { value } else { -value - 1 } >> 3;
    let code = if magnitude < 32 {
        magnitude >> 1
    } else {
        let segment = 31 - magnitude.leading_zeros() as i32 - 4;
        segment << 4 | (magnitude >> segment & 0x0f)
    };
    let code = u8::try_from(code).unwrap_or(0x7f);
    (code | if positive { 0x80 } else { 0 }) ^ 0x55
}

pub(super) fn from_alaw(byte: u8) -> i16 {
    let code = byte ^ 0x55;
    let segment = i32::from(code >> 4 & 7);
    let mantissa = i32::from(code & 0x0f);
    let magnitude = match segment {
        0 => mantissa << 4 | 8,
        _ => (mantissa << 4 | 0x108) << (segment - 1),
    };
    signed(magnitude, code & 0x80 == 0)
}

fn signed(magnitude: i32, negative: bool) -> i16 {
    let value = if negative { -magnitude } else { magnitude };
    i16::try_from(value).unwrap_or(if negative { i16::MIN } else { i16::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Coding what was decoded gives the same byte; µ-law has two zeros.
    #[test]
    fn every_code_survives_a_round_trip() {
        for byte in 0..=255 {
            assert_eq!(to_alaw(from_alaw(byte)), byte);
            if byte != 0x7f {
                assert_eq!(to_ulaw(from_ulaw(byte)), byte);
            }
        }
        assert_eq!((from_ulaw(0x80), from_ulaw(0x00)), (32_124, -32_124));
        assert_eq!((from_alaw(0xaa), from_alaw(0x2a)), (32_256, -32_256));
    }
}
