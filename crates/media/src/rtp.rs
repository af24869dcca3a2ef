//! RTP packets (RFC 3550 §5.1), read and changed in place.

/// The fixed header and where the payload lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub marker: bool,
    pub pt: u8,
    pub seq: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    /// Length of the whole header: fixed part, CSRCs and extension.
    pub len: usize,
    /// Bytes of padding at the end, as the last byte says. Only true once decrypted.
    padded: bool,
}

impl Header {
    /// `None` when this is no RTP packet of version 2.
    #[must_use]
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let fixed: &[u8; 12] = packet.first_chunk()?;
        if fixed[0] >> 6 != 2 {
            return None;
        }
        let mut len = 12 + 4 * usize::from(fixed[0] & 0x0f);
        if fixed[0] & 0x10 != 0 {
            let words = packet.get(len + 2..len + 4)?;
            len += 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
        }
        if len > packet.len() {
            return None;
        }
        Some(Self {
            marker: fixed[1] & 0x80 != 0,
            pt: fixed[1] & 0x7f,
            seq: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            len,
            padded: fixed[0] & 0x20 != 0,
        })
    }

    /// The payload of a decrypted packet, padding cut off.
    #[must_use]
    pub fn payload<'p>(&self, packet: &'p [u8]) -> Option<&'p [u8]> {
        let payload = packet.get(self.len..)?;
        if !self.padded {
            return Some(payload);
        }
        let padding = usize::from(*payload.last()?);
        payload.get(..payload.len().checked_sub(padding)?)
    }

    /// Writes a plain 12-byte header in front of a payload.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(0x80);
        out.push(self.pt | if self.marker { 0x80 } else { 0 });
        out.extend_from_slice(&self.seq.to_be_bytes());
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.ssrc.to_be_bytes());
    }

    /// A header of our own.
    #[must_use]
    pub fn new(pt: u8, seq: u16, timestamp: u32, ssrc: u32, marker: bool) -> Self {
        Self { marker, pt, seq, timestamp, ssrc, len: 12, padded: false }
    }
}

/// The value of a header extension in either form (RFC 8285 §4), in a packet whose header was
/// read.
#[must_use]
pub fn extension(packet: &[u8], id: u8) -> Option<&[u8]> {
    let first = *packet.first()?;
    if first & 0x10 == 0 {
        return None;
    }
    let at = 12 + 4 * usize::from(first & 0x0f);
    let head: &[u8; 4] = packet.get(at..)?.first_chunk()?;
    let is_long = match u16::from_be_bytes([head[0], head[1]]) {
        0xbede => false,
        0x1000..=0x100f => true,
        _ => return None,
    };
    let len = 4 * usize::from(u16::from_be_bytes([head[2], head[3]]));
    let mut rest = packet.get(at + 4..at + 4 + len)?;
    while let Some((first, behind)) = rest.split_first() {
        if *first == 0 {
            rest = behind;
            continue;
        }
        let (this, len, behind) = if is_long {
            let (len, behind) = behind.split_first()?;
            (*first, usize::from(*len), behind)
        } else if first >> 4 == 15 {
            return None;
        } else {
            (first >> 4, usize::from(first & 0x0f) + 1, behind)
        };
        let (value, behind) = behind.split_at_checked(len)?;
        if this == id {
            return Some(value);
        }
        rest = behind;
    }
    None
}

/// True for RTCP behind the same port as RTP (RFC 5761 §4).
#[must_use]
pub fn is_rtcp(packet: &[u8]) -> bool {
    packet.len() >= 8 && packet[0] >> 6 == 2 && (192..=223).contains(&packet[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_extension_csrc_and_padding() {
        let mut packet = vec![0xb1, 0x80 | 111, 0, 9, 0, 0, 0, 1, 0, 0, 0, 2];
        packet.extend([0, 0, 0, 3]);
        packet.extend([0xbe, 0xde, 0, 1, 1, 2, 3, 4]);
        packet.extend([7, 8, 0, 2]);
        let header = Header::parse(&packet).unwrap();
        assert_eq!((header.len, header.pt, header.seq, header.marker), (24, 111, 9, true));
        assert_eq!(header.payload(&packet).unwrap(), [7, 8]);
        for cut in 0..24 {
            assert!(Header::parse(&packet[..cut]).is_none() || cut >= 24);
        }
        *packet.last_mut().unwrap() = 200;
        assert!(header.payload(&packet).is_none());
    }
}
