//! Keys and values that stay with a model for a while, so that the next turn of a conversation reads only
//! what is new. A few conversations, within a bound of bytes; the one that was used last stays longest.

use std::sync::{Mutex, MutexGuard, PoisonError};

use wire::{Failure, model::Device};

use crate::{failures, families::CausalLm, layers::KvCache};

/// Conversations that are kept.
const MOST: usize = 4;
/// Bytes that may be kept however small the model is.
const SMALL: usize = 512 << 20;
/// Tokens in common below which nothing is gained by a copy.
const WORTH_A_COPY: usize = 32;

/// Caches of one model's last sequences.
pub struct PrefixCaches {
    /// The one that was used last is the last.
    kept: Mutex<Vec<KvCache>>,
    limit: usize,
}

impl PrefixCaches {
    /// None yet; for a model whose weights take `weights` bytes, of which half is what may be kept.
    pub fn new(weights: u64) -> Self {
        let limit = usize::try_from(weights / 2).unwrap_or(usize::MAX);
        Self {
            kept: Mutex::default(),
            limit: limit.max(SMALL),
        }
    }

    /// A cache that holds as much of the beginning of `ids` as any that is kept, and at least one token
    /// less than all; how much that is is its length. A conversation that goes on elsewhere keeps its own.
    pub fn take(&self, ids: &[u32], model: &dyn CausalLm) -> Result<KvCache, Failure> {
        if ids.len() > model.settled_length() {
            return Ok(model.new_cache());
        }
        let mut kept = self.lock();
        let most = ids.len().saturating_sub(1);
        let best = kept
            .iter()
            .enumerate()
            .map(|(place, cache)| (cache.shared_prefix(ids).min(most), place))
            .max();
        let Some((shared, place)) = best.filter(|(shared, _)| *shared > 0) else {
            return Ok(model.new_cache());
        };
        if 2 * shared >= kept[place].len() {
            let mut cache = kept.remove(place);
            cache.truncate(shared);
            return Ok(cache);
        }
        if shared < WORTH_A_COPY {
            return Ok(model.new_cache());
        }
        match kept[place].prefix(shared) {
            // A copy is not worth a failure.
            Err(error) if failures::missing(&error).is_some() => Ok(model.new_cache()),
            copy => copy.map_err(failures::internal),
        }
    }

    /// Keeps a cache of a single sequence. The longest unused go when they are too many or too large.
    pub fn put(&self, cache: KvCache, model: &dyn CausalLm) {
        if cache.is_empty() || cache.batch() != 1 || cache.len() > model.settled_length() {
            return;
        }
        let mut kept = self.lock();
        kept.push(cache);
        while kept.len() > MOST || bytes_of(&kept) > self.limit {
            kept.remove(0);
        }
    }

    /// Bytes that are kept.
    pub fn bytes(&self) -> usize {
        bytes_of(&self.lock())
    }

    /// Lets those go that have something on a device, or on any card; says whether there were such.
    pub fn forget(&self, device: Option<Device>) -> bool {
        let mut kept = self.lock();
        let before = kept.len();
        kept.retain(|cache| !cache.is_on(device));
        kept.len() < before
    }

    /// A panic while it is locked leaves a list of whole caches.
    fn lock(&self) -> MutexGuard<'_, Vec<KvCache>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bytes_of(kept: &[KvCache]) -> usize {
    kept.iter().map(KvCache::bytes).sum()
}
