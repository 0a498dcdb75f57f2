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
    /// Greedy without `sampling`.
    pub fn new(sampling: Option<&Sampling>) -> Self {
        match sampling {
            None => Self::Greedy,
            Some(sampling) => {
                // The standard library seeds its hash maps from the system; so does this.
                let seed = sampling
                    .seed
                    .unwrap_or_else(|| RandomState::new().hash_one(0));
                Self::Draw(Random(seed))
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

fn likeliest(logits: &[f32]) -> u32 {
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

/// `SplitMix64` (Steele, Lea and Flood, 2014).
pub struct Random(u64);

impl Random {
    /// A number in [0, 1).
    fn next_unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_probabilities() {
        let logits = [0.7_f32, 0.2, 0.1].map(f32::ln);
        let mut random = Random(1);
        let mut counts = [0_u32; 3];
        for _ in 0..10_000 {
            counts[draw(&logits, &mut random) as usize] += 1;
        }
        for (count, expected) in counts.into_iter().zip([7000_u32, 2000, 1000]) {
            assert!(count.abs_diff(expected) < 200, "{counts:?}");
        }
    }
}
