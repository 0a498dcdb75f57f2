//! The choice of a token from processed logits. Draws are reproducible by seed; they are not torch's.

use std::hash::{BuildHasher, RandomState};

use super::{processors::softmax, settings::Sampling};

/// Chooses tokens: the likeliest, or a drawn one.
pub enum Sampler {
    /// The likeliest; the first of several.
    Greedy,
    /// One drawn by its probability.
    Draw(Random),
}

impl Sampler {
    /// Greedy without `sampling`. Each row of a batch has draws of its own, so that what becomes of one
    /// does not depend on when another ends; the first has those of a single sequence.
    pub fn new(sampling: Option<Sampling>, row: usize) -> Self {
        match sampling {
            None => Self::Greedy,
            Some(sampling) => {
                // The standard library seeds its hash maps from the system; so does this.
                let seed = sampling
                    .seed
                    .unwrap_or_else(|| RandomState::new().hash_one(0));
                Self::Draw(Random::new(seed, row))
            }
        }
    }

    /// The id of the chosen token.
    pub fn choose(&mut self, logits: &[f32]) -> u32 {
        match self {
            Self::Greedy => likeliest(logits),
            Self::Draw(random) => draw(logits, random),
        }
    }
}

/// The id of the largest logit; the first of several.
pub fn likeliest(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (id, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = id;
        }
    }
    best as u32
}

fn draw(logits: &[f32], random: &mut Random) -> u32 {
    let probabilities = softmax(logits);
    let target = random.next_unit();
    let mut sum = 0.0;
    for (id, probability) in probabilities.iter().enumerate() {
        sum += f64::from(*probability);
        if target < sum {
            return id as u32;
        }
    }
    // Rounding can leave the sum a hair below one.
    likeliest(logits)
}

/// Places of `count` different values, drawn one after another by their probabilities: those whose
/// exponential clocks of rate `p` ring first (Efraimidis and Spirakis, 2006), as torch's `multinomial` has
/// it. Where fewer have any, the first of those without follow.
pub fn draw_several(logits: &[f32], count: usize, random: &mut Random) -> Vec<usize> {
    let mut rings: Vec<(f64, usize)> = softmax(logits)
        .into_iter()
        .enumerate()
        .map(|(place, probability)| {
            if probability > 0.0 {
                let clock = -(1.0 - random.next_unit()).ln();
                (clock / f64::from(probability), place)
            } else {
                (f64::INFINITY, place)
            }
        })
        .collect();
    rings.sort_by(|a, b| a.0.total_cmp(&b.0));
    rings.truncate(count);
    rings.into_iter().map(|(_, place)| place).collect()
}

/// `SplitMix64` (Steele, Lea and Flood, 2014).
pub struct Random(u64);

impl Random {
    /// The draws of a row under a seed.
    pub fn new(seed: u64, row: usize) -> Self {
        let mut random = Self(seed);
        if row > 0 {
            random.0 ^= Self(row as u64).next_bits();
        }
        random
    }

    /// A number in [0, 1).
    fn next_unit(&mut self) -> f64 {
        (self.next_bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn next_bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_probabilities() {
        let logits = [0.7_f32, 0.2, 0.1].map(f32::ln);
        let mut random = Random::new(1, 0);
        let (mut counts, mut firsts) = ([0_u32; 3], [0_u32; 3]);
        for _ in 0..10_000 {
            counts[draw(&logits, &mut random) as usize] += 1;
            let several = draw_several(&logits, 2, &mut random);
            assert!(several.len() == 2 && several[0] != several[1]);
            firsts[several[0]] += 1;
        }
        for counts in [counts, firsts] {
            for (count, expected) in counts.into_iter().zip([7000_u32, 2000, 1000]) {
                assert!(count.abs_diff(expected) < 200, "{counts:?}");
            }
        }
    }

    #[test]
    fn where_too_few_can_be_drawn_others_follow() {
        let logits = [f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY];
        assert_eq!(draw_several(&logits, 2, &mut Random::new(1, 0)), [1, 0]);
    }

    #[test]
    fn rows_have_draws_of_their_own() {
        let mut first = Random::new(5, 0);
        let mut second = Random::new(5, 1);
        assert_ne!(first.next_bits(), second.next_bits());
    }
}
