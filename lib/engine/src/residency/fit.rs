//! Where `device_map="auto"` puts a model whose size is known, and what a model has taken of cards once it is there.

use wire::{Failure, model::Device};

use super::{
    Residency, loaded,
    room::{Need, Promise, Share},
};
use crate::{
    cuda, families,
    memory::megabytes,
    placement::{Part, Parts, Placement},
    weights::Weights,
};

impl Residency {
    /// The first card that has room for all of it, where others may go for it; else all cards by layers, and the
    /// processor for what is left.
    pub(super) fn fit(&self, need: &Need, weights: &Weights) -> Result<Placement, Failure> {
        let mut cards = self.rooms(need);
        if let Some(card) = cards.fitting {
            return Ok(Placement::whole(card));
        }
        // What is kept of conversations goes before a model is split.
        if self.table.forget_prefixes(None) {
            cards = self.rooms(need);
            if let Some(card) = cards.fitting {
                return Ok(Placement::whole(card));
            }
        }
        if cards.asked.is_empty()
            && let Some(failure) = cards.closed
        {
            return Ok(Placement::whole(Device::Cpu).chosen(cuda::passed_over(failure)));
        }
        let cards = cards.asked;
        if let Some(what) = loaded::undivided(weights) {
            let most = cards.iter().map(|(_, room)| *room).max().unwrap_or(0);
            return Ok(Placement::whole(Device::Cpu).chosen(format!(
                "`auto` takes the CPU for `{}`: it takes {}, no card has more than {} for it, and {what} are not split",
                need.name,
                megabytes(need.weights + need.cache),
                megabytes(most)
            )));
        }
        let parts = Parts {
            bytes: &|part| match part {
                Part::Layer(_) => need.part(part) + need.layer_cache(),
                Part::Head => need.head(),
                Part::Norm | Part::Tokens => need.part(part),
            },
            cards: &cards,
        };
        Placement::spread(&need.name, &families::parameter_names(weights), &parts)
    }
}

/// What cards have room for.
struct Rooms {
    /// The first that has room for all of it.
    fitting: Option<Device>,
    /// The room of each that was asked, in bytes.
    asked: Vec<(Device, u64)>,
    /// Why the first of those could not be opened that could not.
    closed: Option<Failure>,
}

impl Residency {
    /// Asks the cards one after the other, until one has room: each that is asked is opened for it.
    fn rooms(&self, need: &Need) -> Rooms {
        let (mut asked, mut closed) = (Vec::new(), None);
        for card in cuda::cards() {
            if let Device::Cuda(number) = card
                && let Err(failure) = cuda::device(number)
            {
                closed.get_or_insert(failure);
                continue;
            }
            let free = self.room.unpromised(card);
            let room = free.map_or(0, |free| free.saturating_add(self.table.idle_bytes(card)));
            asked.push((card, room));
            let shares = need.on(&Placement::whole(card));
            let mut own = shares.iter().filter(|share| share.device == card);
            if own.all(|share| share.bytes() <= room) {
                return Rooms {
                    fitting: Some(card),
                    asked,
                    closed,
                };
            }
        }
        Rooms {
            fitting: None,
            asked,
            closed,
        }
    }
}

/// What this process uses of the cards that a model is to be put on.
pub(super) struct Used(Vec<(Device, Option<u64>)>);

impl Used {
    pub fn on(placement: &Placement) -> Self {
        let cards = placement.cards().into_iter();
        Self(cards.map(|card| (card, used(card))).collect())
    }

    /// Bytes that a model of so many in all took on each device: of a card as its driver counts them, where no other
    /// load was under way there; else what was reckoned.
    pub fn taken(&self, (shares, promise): (&[Share], &Promise), bytes: u64) -> Vec<(Device, u64)> {
        if self.0.is_empty() {
            return vec![(Device::Cpu, bytes)];
        }
        let taken = |share: &Share| {
            let known = self.0.iter().find(|(card, _)| *card == share.device);
            let counted = known.and_then(|(card, before)| {
                let after = used(*card).filter(|_| promise.is_alone_on(*card))?;
                before.and_then(|before| after.checked_sub(before))
            });
            (share.device, counted.unwrap_or(share.weights))
        };
        shares.iter().map(taken).collect()
    }
}

fn used(card: Device) -> Option<u64> {
    match card {
        Device::Cuda(number) => cuda::used_bytes(number),
        Device::Cpu | Device::Auto => None,
    }
}
