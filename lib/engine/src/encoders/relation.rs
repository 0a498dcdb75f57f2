//! What attention makes of the places of two tokens, prepared for the rows of one step: values by
//! distance, vectors of distances, or angles and a window. `related` attends by it.

use std::sync::OnceLock;

use candle_core::{Device, Result, Tensor};

use super::plan::Disentangling;

/// What one layer knows of places.
#[derive(Debug)]
pub enum Relation {
    /// Nothing.
    Plain,
    /// Which tokens come later, and are not seen.
    Causal,
    /// A value for each head and bucket of distances, `(buckets, heads)`, and whether later tokens are not seen.
    Bucketed(Vec<f32>, bool),
    /// Keys and queries of distances.
    Distances(Distances),
    /// The base of the rotary embedding, and how far the layer sees.
    Rotary(f64, Option<usize>),
}

/// Vectors of distances: `DeBERTa`'s, through a layer's projections, `(rows, heads * head_dim)`; or a layer's own,
/// which all heads share, `(rows, head_dim)`.
#[derive(Debug)]
pub struct Distances {
    pub keys: Option<Vec<f32>>,
    pub queries: Option<Vec<f32>>,
    /// How distances become rows.
    pub rows: DistanceRows,
    /// Keys and queries as tensors, on the device that asked first.
    pub placed: OnceLock<[Option<Tensor>; 2]>,
}

/// Which row stands for the query's place less the key's.
#[derive(Clone, Copy, Debug)]
pub enum DistanceRows {
    /// As `DeBERTa` says.
    Disentangled(Disentangling),
    /// Each distance between so many places has its own, the smallest first.
    Each(usize),
}

impl DistanceRows {
    /// Rows that there are.
    pub fn count(self) -> usize {
        match self {
            Self::Disentangled(plan) => 2 * plan.span,
            Self::Each(places) => 2 * places - 1,
        }
    }

    fn of(self, distance: i64) -> usize {
        match self {
            Self::Disentangled(plan) => plan.row(distance),
            Self::Each(places) => {
                let last = whole(places) - 1;
                (distance + last).clamp(0, 2 * last) as usize
            }
        }
    }
}

impl Distances {
    /// Keys and queries as tensors of a device.
    pub fn on(&self, device: &Device) -> Result<&[Option<Tensor>; 2]> {
        if let Some(placed) = self.placed.get() {
            return Ok(placed);
        }
        let rows = self.rows.count();
        let place = |vectors: &Option<Vec<f32>>| {
            let vectors = vectors.as_ref();
            let place = |vectors: &Vec<f32>| {
                Tensor::from_slice(vectors, (rows, vectors.len() / rows), device)
            };
            vectors.map(place).transpose()
        };
        let placed = [place(&self.keys)?, place(&self.queries)?];
        Ok(self.placed.get_or_init(|| placed))
    }
}

/// The relation for sequences up to a length.
pub enum Prepared<'a> {
    Plain,
    /// `(heads, 2 * longest - 1)`: by the key's place less the query's, the smallest first.
    Bias(Vec<f32>, usize),
    /// Rows of the vectors, by the query's place less the key's, the smallest first.
    Rows(&'a Distances, Vec<usize>, usize),
    /// Cosines and sines `(longest, head_dim / 2)`.
    Turned(Vec<(f32, f32)>, Option<usize>),
}

impl Relation {
    /// For rows of `longest` tokens at most, with heads of this width.
    pub fn prepared(&self, longest: usize, heads: usize, head_dim: usize) -> Prepared<'_> {
        let reach = whole(longest.saturating_sub(1));
        match self {
            Self::Plain => Prepared::Plain,
            Self::Causal => Prepared::Bias(
                biases(heads, reach, |_, distance| unseen(distance)),
                longest,
            ),
            Self::Bucketed(table, is_causal) => {
                let value = |head, distance| table[bucket(distance) * heads + head];
                let values = biases(heads, reach, |head, distance| {
                    let later = if *is_causal { unseen(distance) } else { 0.0 };
                    value(head, distance) + later
                });
                Prepared::Bias(values, longest)
            }
            Self::Distances(distances) => {
                let rows = (-reach..=reach).map(|distance| distances.rows.of(distance));
                Prepared::Rows(distances, rows.collect(), longest)
            }
            Self::Rotary(theta, reach) => {
                Prepared::Turned(angles(*theta, longest, head_dim), *reach)
            }
        }
    }
}

/// Of each head a value for each distance, the smallest first.
fn biases(heads: usize, reach: i64, value: impl Fn(usize, i64) -> f32) -> Vec<f32> {
    let of_head = |head| (-reach..=reach).map(move |distance| (head, distance));
    let places = (0..heads).flat_map(of_head);
    places
        .map(|(head, distance)| value(head, distance))
        .collect()
}

/// What is added to the score of a key at a distance where later ones are not seen: transformers takes the
/// smallest number too, which is finite.
fn unseen(distance: i64) -> f32 {
    if distance > 0 { f32::MIN } else { 0.0 }
}

/// `relative_position_bucket` of `MPNet` with 32 buckets to 128 tokens: of the key's place less the query's.
fn bucket(distance: i64) -> usize {
    const EACH: usize = super::mpnet::BUCKETS / 2;
    const EXACT: usize = EACH / 2;
    let side = if distance > 0 { EACH } else { 0 };
    let far = distance.unsigned_abs() as usize;
    if far < EXACT {
        return side + far;
    }
    let steps = (far as f32 / EXACT as f32).ln() / 16_f32.ln() * (EACH - EXACT) as f32;
    side + (EXACT + steps as usize).min(EACH - 1)
}

impl Disentangling {
    /// The row of the vectors that stands for the query's place less the key's.
    fn row(&self, distance: i64) -> usize {
        let span = whole(self.span);
        let place = match self.buckets {
            Some((count, most)) => log_bucket(distance, whole(count), whole(most)),
            None => distance,
        };
        (place + span).clamp(0, 2 * span - 1) as usize
    }
}

/// A count of tokens, which distances to both sides are counted with.
fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// `make_log_bucket_position`.
fn log_bucket(distance: i64, count: i64, most: i64) -> i64 {
    let middle = count / 2;
    let far = distance.abs();
    if far <= middle || middle < 1 {
        return distance;
    }
    let share = |far: f32| (far / middle as f32).ln();
    let steps = share(far as f32) / share((most - 1) as f32) * (middle - 1) as f32;
    (steps.ceil() as i64 + middle) * distance.signum()
}

/// Cosine and sine of each place's angles, in f32 as transformers computes them.
fn angles(theta: f64, longest: usize, head_dim: usize) -> Vec<(f32, f32)> {
    let frequencies: Vec<f32> = (0..head_dim / 2)
        .map(|pair| 1.0 / (theta as f32).powf((2 * pair) as f32 / head_dim as f32))
        .collect();
    let places = (0..longest).flat_map(|place| {
        let angles = frequencies.iter().map(move |by| place as f32 * by);
        angles.map(|angle| (angle.cos(), angle.sin()))
    });
    places.collect()
}

/// The values of a tensor, however it lies.
pub fn flat(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `distance + max_position_embeddings - 1`.
    #[test]
    fn each_distance_has_a_row() {
        let rows = DistanceRows::Each(4);
        assert_eq!(rows.count(), 7);
        assert_eq!(
            [-3, -1, 0, 3].map(|distance| rows.of(distance)),
            [0, 2, 3, 6]
        );
    }

    /// By `relative_position_bucket` and `make_log_bucket_position` of transformers 4.57.6.
    #[test]
    fn buckets() {
        let distances = [0, 1, -1, 7, -7, 8, -8, 20, -20, 127, -500];
        let found = distances.map(bucket);
        assert_eq!(found, [0, 17, 1, 23, 7, 24, 8, 26, 10, 31, 15]);
        let distances = [0, 4, -4, 5, -5, 9, -20, 63, 200];
        let found = distances.map(|distance| log_bucket(distance, 8, 64));
        assert_eq!(found, [0, 4, -4, 5, -5, 5, -6, 7, 9]);
    }
}
