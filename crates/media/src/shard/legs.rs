//! All legs of a shard, in places that are dense and stay.
//!
//! The packet path knows a leg by its [`Place`], which is an index; everybody else by its id. A
//! place that was given back is taken by the next leg, so what remembers one asks for the id too.

use std::ops::Range;

use crosspoint_base::{LegId, Rng};

use super::leg::{HOT, HOT_COMING, HOT_GOING, Leg};
use super::table::Table;
use crate::srtp;

/// Where a leg is, as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(u32);

type Piece = Box<[Option<Leg>]>;

#[derive(Debug)]
pub(super) struct Legs {
    /// In pieces, so that a growing table moves no leg.
    pieces: Vec<Piece>,
    free: Vec<Place>,
    by_id: Table<LegId, Place>,
}

impl Legs {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self { pieces: Vec::new(), free: Vec::new(), by_id: Table::new(rng) }
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(super) fn place(&self, id: LegId) -> Option<Place> {
        self.by_id.get(&id)
    }

    pub(super) fn get(&self, id: &LegId) -> Option<&Leg> {
        self.at(self.place(*id)?).map(|(_, leg)| leg)
    }

    /// For everybody but the packet path, which is told to look at the leg anew.
    pub(super) fn get_mut(&mut self, id: &LegId) -> Option<&mut Leg> {
        let place = self.place(*id)?;
        let (_, leg) = self.at_mut(place)?;
        leg.fast.forget();
        Some(leg)
    }

    /// For who keeps figures and reports them, as often as once a second: changes nothing that
    /// [`Leg::freshen`] reads, which would have to be found out anew for the next packet.
    pub(super) fn figures_mut(&mut self, id: &LegId) -> Option<&mut Leg> {
        let place = self.place(*id)?;
        self.at_mut(place).map(|(_, leg)| leg)
    }

    pub(super) fn at(&self, Place(place): Place) -> Option<(LegId, &Leg)> {
        let (piece, within) = (place as usize / PIECE, place as usize % PIECE);
        let leg = self.pieces.get(piece)?.get(within)?.as_ref()?;
        Some((leg.id, leg))
    }

    /// For the packet path, which changes nothing that [`Leg::freshen`] reads.
    pub(super) fn at_mut(&mut self, Place(place): Place) -> Option<(LegId, &mut Leg)> {
        let (piece, within) = (place as usize / PIECE, place as usize % PIECE);
        let leg = self.pieces.get_mut(piece)?.get_mut(within)?.as_mut()?;
        Some((leg.id, leg))
    }

    /// Has a leg on its way into the cache, as far as a packet that came from it needs it.
    pub(super) fn prefetch_coming(&self, place: Place) {
        self.prefetch(place, HOT_COMING);
    }

    /// The same for a packet that goes to it.
    pub(super) fn prefetch_going(&self, place: Place) {
        self.prefetch(place, HOT_GOING);
    }

    fn prefetch(&self, Place(place): Place, bytes: Range<usize>) {
        let piece = self.pieces.get(place as usize / PIECE);
        if let Some(slot) = piece.and_then(|piece| piece.get(place as usize % PIECE)) {
            srtp::prefetch(slot, 0..HOT);
            srtp::prefetch(slot, bytes);
        }
    }

    pub(super) fn insert(&mut self, leg: Leg) {
        let id = leg.id;
        if let Some(place) = self.place(id) {
            self.put(place, Some(leg));
            return;
        }
        if self.free.is_empty() {
            let first = self.pieces.len() * PIECE;
            self.pieces.push((0..PIECE).map(|_| None).collect());
            let places = (first..first + PIECE).rev();
            self.free.extend(places.filter_map(|n| u32::try_from(n).ok()).map(Place));
        }
        let Some(place) = self.free.pop() else { return };
        self.put(place, Some(leg));
        self.by_id.insert(id, place);
    }

    pub(super) fn remove(&mut self, id: &LegId) -> Option<Leg> {
        let place = self.by_id.remove(id)?;
        self.free.push(place);
        self.put(place, None)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Leg> {
        self.pieces.iter().flatten().flatten()
    }

    fn put(&mut self, Place(place): Place, leg: Option<Leg>) -> Option<Leg> {
        let (piece, within) = (place as usize / PIECE, place as usize % PIECE);
        let slot = self.pieces.get_mut(piece)?.get_mut(within)?;
        std::mem::replace(slot, leg)
    }
}

const PIECE: usize = 64;
