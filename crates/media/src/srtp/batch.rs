//! Many packets of many sessions at once: where the tag is the costly part, it is made for
//! sixteen packets side by side.
//!
//! A packet is opened in three steps. [`Context::begin`] takes its tag off, [`check`] makes the
//! tags of all, and [`Context::finish`], in the order of arrival, decides by what is known then.
//! It gives exactly what [`Context::unprotect_rtp`] gives for one packet after the other.

use super::cipher::{Claim, Encrypted};
use super::hmac::{self, Lane};
use super::{Context, Error};
use crate::rtp::Header;

/// A packet that is being opened.
#[derive(Debug)]
pub struct Opening {
    header: Header,
    /// What its index was when the tag was made for it.
    index: u64,
    /// Its length without the tag, and the tag that it claims.
    claim: Option<(usize, Claim)>,
    is_good: bool,
}

/// A packet whose tag is to be checked with the others'.
#[derive(Debug)]
pub struct Unprotecting<'p> {
    pub context: &'p Context,
    pub packet: &'p [u8],
    pub opening: &'p mut Opening,
}

/// A packet that is encrypted, as long as it is without the tag that it lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsigned(pub usize);

/// A packet to be signed with the others.
#[derive(Debug)]
pub struct Protecting<'p> {
    pub context: &'p Context,
    pub buffer: &'p mut [u8],
    pub unsigned: Unsigned,
}

impl Context {
    /// Begins to open the RTP packet in `buffer`, which must be finished or dropped: its tag is
    /// not there any more.
    ///
    /// # Errors
    /// When this is no packet.
    pub fn begin(&self, buffer: &mut [u8]) -> Result<Opening, Error> {
        let header = Header::parse(buffer).ok_or(Error::Malformed)?;
        let index = self.rtp.find(header.ssrc).unwrap_or_default().index_of(header.seq);
        // One that is too short for a tag is told as such when its turn comes.
        let claim = self.cipher.unsign(buffer, &header, index).unwrap_or_default();
        Ok(Opening { header, index, claim, is_good: false })
    }

    /// Decides on a packet and decrypts it; gives its plain length.
    ///
    /// # Errors
    /// When it is not a fresh packet of the peer.
    pub fn finish(&mut self, buffer: &mut [u8], opening: &Opening) -> Result<usize, Error> {
        let Opening { header, index: foreseen, claim, is_good } = opening;
        let index = self.fresh_index(header)?;
        let len = match claim {
            None => self.cipher.unprotect_rtp(buffer, header, index)?,
            Some((len, _)) if index == *foreseen => {
                if !is_good {
                    return Err(Error::BadTag);
                }
                self.cipher.decrypt_rtp(&mut buffer[..*len], header, index);
                *len
            }
            // A packet before it in the batch has changed the rollover counter.
            Some((len, claim)) => {
                let end = len + self.cipher.rtp_tag().unwrap_or(0);
                buffer[*len..end].copy_from_slice(&claim[..end - len]);
                self.cipher.unprotect_rtp(&mut buffer[..end], header, index)?
            }
        };
        self.rtp.entry(header.ssrc)?.take(index);
        Ok(len)
    }

    /// Protects the RTP packet in `buffer[..len]`, but for a tag that [`sign`] can make for many:
    /// gives its length, or what is still to be signed.
    ///
    /// # Errors
    /// As [`Context::protect_rtp`].
    pub fn protect_but_tag(
        &mut self,
        buffer: &mut [u8],
        len: usize,
    ) -> Result<Result<usize, Unsigned>, Error> {
        Ok(match self.encrypt(buffer, len)? {
            Encrypted::Whole(len) => Ok(len),
            Encrypted::Unsigned(len) => Err(Unsigned(len)),
        })
    }

    /// How long a packet will be that is yet to be signed.
    #[must_use]
    pub fn signed_len(&self, unsigned: Unsigned) -> usize {
        unsigned.0 + self.cipher.rtp_tag().unwrap_or(0)
    }
}

/// Checks the tags of many packets.
pub fn check<'p>(packets: impl Iterator<Item = Unprotecting<'p>>) {
    let mut packets = packets.peekable();
    while packets.peek().is_some() {
        let mut lanes: [Option<(Lane<'p>, Unprotecting<'p>)>; LANES] = [const { None }; LANES];
        let mut count = 0;
        while count < LANES
            && let Some(packet) = packets.next()
        {
            let Some((len, _)) = packet.opening.claim else { continue };
            let Some(lane) = packet.context.cipher.lane(packet.packet, len) else { continue };
            lanes[count] = Some((lane, packet));
            count += 1;
        }
        let Some(first) = lanes[0].as_ref().map(|(lane, _)| *lane) else { return };
        let mut of_lanes = [first; LANES];
        for (place, (lane, _)) in of_lanes.iter_mut().zip(lanes.iter().flatten()) {
            *place = *lane;
        }
        let mut tags = [[0; 20]; LANES];
        hmac::tags(&of_lanes[..count], &mut tags);
        for ((_, packet), tag) in lanes.iter_mut().flatten().zip(&tags) {
            let Opening { claim, is_good, .. } = &mut *packet.opening;
            *is_good = claim.as_ref().is_some_and(|(_, c)| packet.context.cipher.is_signed(c, tag));
        }
    }
}

/// Puts the tags on many packets.
pub fn sign<'p>(packets: impl Iterator<Item = Protecting<'p>>) {
    let mut packets = packets.peekable();
    while packets.peek().is_some() {
        let mut group: [Option<Protecting<'p>>; LANES] = [const { None }; LANES];
        let mut count = 0;
        while count < LANES
            && let Some(packet) = packets.next()
        {
            group[count] = Some(packet);
            count += 1;
        }
        let mut tags = [[0; 20]; LANES];
        let lanes = group.each_ref().map(|packet| {
            packet.as_ref().and_then(|p| p.context.cipher.lane(p.buffer, p.unsigned.0))
        });
        let Some(first) = lanes[0] else { return };
        let lanes = lanes.map(|lane| lane.unwrap_or(first));
        hmac::tags(&lanes[..count], &mut tags);
        for (packet, tag) in group.iter_mut().flatten().zip(&tags) {
            packet.context.put_tag(packet.buffer, packet.unsigned.0, tag);
        }
    }
}

const LANES: usize = 16;
