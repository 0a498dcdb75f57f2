//! Whether a load fits on its devices, decided before its first byte is read. Loads that are under way count with what
//! they have still to take, so that two that fit one by one are not both let in.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use wire::{
    Failure, FailureKind,
    model::{DType, Device, Resident},
};

use super::cache_shape::{CacheShape, EXPECTED_TOKENS};
use crate::{
    bitsandbytes::{Plan, memory as planned, tensor_bytes},
    memory::{self, megabytes},
    placement::{Part, Placement},
    weights::Weights,
};

/// Main memory that a load must leave free for the rest of the machine.
pub(super) const HEADROOM: u64 = 64 << 20;
/// Memory of a card that a load must leave free: for what prompts are computed in, and for libraries.
pub(super) const CARD_HEADROOM: u64 = 512 << 20;
/// What a model will take.
#[derive(Clone, Debug)]
pub struct Need {
    /// What a user calls it.
    pub name: String,
    /// Bytes of its weights, with what is taken beside them for a while.
    pub weights: u64,
    /// Bytes of the keys and values of [`Self::tokens`] tokens.
    pub cache: u64,
    /// Tokens that are planned for.
    pub tokens: u64,
    /// Bytes of the weights of each part.
    pub parts: BTreeMap<Part, u64>,
    /// It is on one device as a whole.
    pub is_whole: bool,
}

/// What a model will take on one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The device.
    pub device: Device,
    /// Bytes of weights there.
    pub weights: u64,
    /// Bytes of keys and values there.
    pub cache: u64,
}

impl Share {
    /// Bytes in all.
    pub fn bytes(&self) -> u64 {
        self.weights.saturating_add(self.cache)
    }
}

/// Memory of a device that a load must leave free.
fn headroom(device: Device) -> u64 {
    match device {
        Device::Cuda(_) => CARD_HEADROOM,
        Device::Cpu | Device::Auto => HEADROOM,
    }
}

impl Need {
    /// What these weights will take, from their sizes and their description, and from how they are to
    /// be quantised; keys and values in `cache_dtype`.
    pub fn of(name: &str, weights: &Weights, plan: Option<&Plan>, cache_dtype: DType) -> Self {
        let bytes = plan.map_or_else(|| weights.bytes(), |plan| planned(weights, plan));
        let shape = CacheShape::read(&weights.description).unwrap_or_default();
        let tokens = shape.context.min(EXPECTED_TOKENS);
        let mut parts: BTreeMap<Part, u64> = BTreeMap::new();
        for (name, entry) in &weights.tensors {
            let bytes = plan.map_or(entry.bytes, |plan| tensor_bytes(plan, name, entry));
            *parts.entry(Part::of(name)).or_default() += bytes;
        }
        Self {
            name: name.to_owned(),
            weights: bytes,
            cache: shape.bytes_per_token(cache_dtype).saturating_mul(tokens),
            tokens,
            parts,
            is_whole: false,
        }
    }

    /// The same, of a model that is on one device as a whole or is not.
    pub fn undivided(self, is_whole: bool) -> Self {
        Self { is_whole, ..self }
    }

    /// Bytes of a part's weights.
    pub fn part(&self, part: Part) -> u64 {
        self.parts.get(&part).copied().unwrap_or(0)
    }

    /// Bytes of keys and values of a layer.
    pub fn layer_cache(&self) -> u64 {
        let layers = self.parts.keys();
        let layers = layers.filter(|part| matches!(part, Part::Layer(_))).count();
        self.cache / (layers as u64).max(1)
    }

    /// Bytes of the head: those of its own weights, or of its copy of the vectors of tokens.
    pub fn head(&self) -> u64 {
        match self.part(Part::Head) {
            0 => self.part(Part::Tokens),
            bytes => bytes,
        }
    }

    /// What it takes on each device of a placement. Vectors of tokens are in main memory.
    pub fn on(&self, placement: &Placement) -> Vec<Share> {
        if placement.is_on_cpu() {
            return vec![Share {
                device: Device::Cpu,
                weights: self.weights,
                cache: self.cache,
            }];
        }
        let mut shares = vec![Share {
            device: Device::Cpu,
            weights: self.part(Part::Tokens),
            cache: 0,
        }];
        if self.is_whole {
            // What is beside the tables is not told apart from them; a head that is tied has a copy of one.
            shares.push(Share {
                device: placement.head(),
                weights: self.weights,
                cache: self.cache,
            });
            return shares;
        }
        let mut add = |device: Device, weights: u64, cache: u64| {
            let found = shares.iter_mut().find(|share| share.device == device);
            match found {
                Some(share) => {
                    share.weights += weights;
                    share.cache += cache;
                }
                None => shares.push(Share {
                    device,
                    weights,
                    cache,
                }),
            }
        };
        for (&part, &bytes) in &self.parts {
            match part {
                Part::Layer(index) => add(placement.layer(index), bytes, self.layer_cache()),
                Part::Norm => add(placement.norm(), bytes, 0),
                Part::Tokens | Part::Head => {}
            }
        }
        let is_shared = self.part(Part::Head) == 0 && placement.head() == Device::Cpu;
        add(placement.head(), if is_shared { 0 } else { self.head() }, 0);
        shares
    }
}

/// The memory that is promised to loads.
pub struct Room {
    promised: Mutex<Vec<Arc<Promised>>>,
    /// Bytes that are available on a device; `None` where nothing says, and all is let in.
    available: Box<dyn Fn(Device) -> Option<u64> + Send + Sync>,
}

/// What one load has still to take on each device.
struct Promised(Vec<(Device, AtomicU64)>);

impl Promised {
    fn on(&self, device: Device) -> u64 {
        let own = self.0.iter().filter(|(known, _)| *known == device);
        own.map(|(_, left)| left.load(Ordering::Acquire)).sum()
    }
}

impl Default for Room {
    fn default() -> Self {
        Self::with_memory(memory::available_on)
    }
}

/// Why a load is not let in.
#[derive(Debug)]
pub struct Refused {
    /// What a user is told.
    pub failure: Failure,
    /// The device that lacks memory.
    pub device: Device,
    /// Bytes that would have to be freed there.
    pub missing: u64,
}

/// Memory for one load, given back when this is dropped. What the load has taken already shows in
/// the system's own figures and is promised no longer.
pub struct Promise<'a> {
    room: &'a Room,
    shares: Vec<Share>,
    left: Arc<Promised>,
}

impl Room {
    /// Room by what a function says is available on a device.
    pub fn with_memory(available: impl Fn(Device) -> Option<u64> + Send + Sync + 'static) -> Self {
        Self {
            promised: Mutex::default(),
            available: Box::new(available),
        }
    }

    /// Bytes of a device that a load may take: no other has been promised them, and they need not stay free. `None`
    /// where nothing says.
    pub fn unpromised(&self, device: Device) -> Option<u64> {
        let others: u64 = self.lock().iter().map(|other| other.on(device)).sum();
        let available = (self.available)(device)?;
        Some(available.saturating_sub(others.saturating_add(headroom(device))))
    }

    /// Promises a load its memory, or says what is in the way.
    pub fn promise(
        &self,
        (need, shares): (&Need, &[Share]),
        residents: impl Fn() -> Vec<Resident>,
    ) -> Result<Promise<'_>, Refused> {
        let mut promised = self.lock();
        for share in shares {
            let others = promised.iter().map(|other| other.on(share.device)).sum();
            let Some(available) = (self.available)(share.device) else {
                continue;
            };
            let wanted = share
                .bytes()
                .saturating_add(headroom(share.device))
                .saturating_add(others);
            if wanted > available {
                return Err(Refused {
                    failure: refusal((need, share), (available, others), &residents()),
                    device: share.device,
                    missing: wanted - available,
                });
            }
        }
        let left = shares
            .iter()
            .map(|share| (share.device, AtomicU64::new(share.bytes())));
        let left = Arc::new(Promised(left.collect()));
        promised.push(Arc::clone(&left));
        Ok(Promise {
            room: self,
            shares: shares.to_vec(),
            left,
        })
    }

    /// Nothing under the lock panics.
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Promised>>> {
        self.promised.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Promise<'_> {
    /// Tells how many bytes of the files have been read, of how many: as much of each device's share is taken.
    pub fn taken(&self, done: u64, total: u64) {
        for (share, (_, left)) in self.shares.iter().zip(&self.left.0) {
            let part = u128::from(done.min(total)) * u128::from(share.weights);
            let taken = u64::try_from(part / u128::from(total.max(1))).unwrap_or(u64::MAX);
            left.store(share.bytes().saturating_sub(taken), Ordering::Release);
        }
    }

    /// Whether no other load is under way on a device.
    pub fn is_alone_on(&self, device: Device) -> bool {
        let promised = self.room.lock();
        let mut others = promised
            .iter()
            .filter(|other| !Arc::ptr_eq(other, &self.left));
        others.all(|other| other.on(device) == 0)
    }
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        self.room
            .lock()
            .retain(|left| !Arc::ptr_eq(left, &self.left));
    }
}

fn refusal(
    (need, share): (&Need, &Share),
    (available, others): (u64, u64),
    residents: &[Resident],
) -> Failure {
    let is_card = matches!(share.device, Device::Cuda(_));
    let mut message = format!(
        "cannot load `{}`: it takes {}",
        need.name,
        megabytes(share.weights)
    );
    if is_card {
        message = format!("{message} on `{}`", share.device);
    }
    if share.cache > 0 {
        message = format!(
            "{message}, and {} for a conversation of {} tokens",
            megabytes(share.cache),
            need.tokens
        );
    }
    let where_ = if is_card {
        "are free there"
    } else {
        "of memory are available"
    };
    message = format!("{message}; {} {where_}", megabytes(available));
    if others > 0 {
        let others = megabytes(others);
        message = format!("{message}, of which loads under way will take {others}");
    }
    let resident = residents.iter().filter_map(|model| {
        let bytes = model.info.bytes_on(share.device);
        (bytes > 0).then(|| format!("`{}` ({})", model.info.name, megabytes(bytes)))
    });
    let resident: Vec<String> = resident.collect();
    let (resident, hint) = if resident.is_empty() {
        (
            "nothing".to_owned(),
            "take a smaller model or a stronger quantisation",
        )
    } else {
        (
            resident.join(", "),
            "unload a model that is not needed, or take a stronger quantisation",
        )
    };
    let failure = Failure::new(
        FailureKind::OutOfMemory,
        format!("{message}; resident: {resident}"),
    );
    if is_card {
        return failure.hint(format!(
            "{hint}; `device_map(\"auto\")` leaves to the CPU what does not fit"
        ));
    }
    failure.hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;

    fn need(weights: u64) -> Need {
        Need {
            name: "m".to_owned(),
            weights,
            cache: 100 * MB,
            tokens: 2048,
            parts: BTreeMap::new(),
            is_whole: false,
        }
    }

    #[test]
    fn a_load_under_way_counts_with_what_it_has_still_to_take() {
        let figure = Arc::new(AtomicU64::new(0));
        let told = Arc::clone(&figure);
        let room = Room::with_memory(move |_| Some(told.load(Ordering::Acquire)));
        let promise = |weights, available| {
            figure.store(available, Ordering::Release);
            let need = need(weights);
            let shares = need.on(&Placement::whole(Device::Cpu));
            let promised = room.promise((&need, &shares), Vec::new);
            promised.map_err(|refused| refused.failure)
        };
        let first = promise(500 * MB, 1_000 * MB).unwrap_or_else(|refused| panic!("{refused:?}"));
        let refused = promise(500 * MB, 1_000 * MB).err().expect("not both");
        assert_eq!(refused.kind, FailureKind::OutOfMemory);
        assert_eq!(
            refused.message,
            "cannot load `m`: it takes 500 MB, and 100 MB for a conversation of 2048 tokens; \
             1000 MB of memory are available, of which loads under way will take 600 MB; \
             resident: nothing"
        );
        // Its weights are read now, and gone from what is available.
        first.taken(3 * MB, 3 * MB);
        assert!(promise(500 * MB, 700 * MB).is_err(), "its cache is to come");
        assert!(promise(500 * MB, 900 * MB).is_ok());
        drop(first);
        assert!(promise(500 * MB, 700 * MB).is_ok(), "nothing is promised");
    }
}
