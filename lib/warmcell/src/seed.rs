//! `manual_seed`: draws that repeat, without a seed at every call.

use std::sync::{Mutex, PoisonError};

use wire::generate::GenerationConfig;

/// The seed of the next generation that has none of its own, if draws are to repeat.
static NEXT: Mutex<Option<u64>> = Mutex::new(None);

/// Makes the draws of all generations from here on repeatable, as `torch.manual_seed` does: the same
/// seed, then the same calls in the same order, give the same texts. They are not those that torch draws.
/// A generation with a `seed` of its own does not take part.
pub fn manual_seed(seed: u64) {
    *NEXT.lock().unwrap_or_else(PoisonError::into_inner) = Some(seed);
}

/// Gives a configuration without a seed the next one. The first is the one that was set.
pub(crate) fn fill(mut config: GenerationConfig) -> GenerationConfig {
    if config.seed.is_none() {
        let mut next = NEXT.lock().unwrap_or_else(PoisonError::into_inner);
        config.seed = *next;
        *next = next.map(|seed| seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1));
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_repeat_after_the_same_first() {
        let draw = || [(); 3].map(|()| fill(GenerationConfig::default()).seed);
        assert_eq!(draw(), [None; 3]);
        manual_seed(7);
        let first = draw();
        assert_eq!(first[0], Some(7));
        assert!(first[1] != first[0] && first[2] != first[1]);
        let own = GenerationConfig {
            seed: Some(1),
            ..Default::default()
        };
        assert_eq!(fill(own).seed, Some(1));
        manual_seed(7);
        assert_eq!(draw(), first);
    }
}
