//! Numbers with a shape: logits and hidden states on their way to a cell, and what a cell does with
//! them without a tensor library.

use std::ops::Range;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{model::DType, packed};

/// An array of `f32`, row-major: the last index runs fastest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Array {
    shape: Vec<usize>,
    #[serde(with = "floats")]
    values: Vec<f32>,
}

impl Array {
    /// An array of a shape; `None` when the shape does not hold this many values.
    pub fn new(shape: Vec<usize>, values: Vec<f32>) -> Option<Self> {
        let size = shape
            .iter()
            .try_fold(1_usize, |size, &dim| size.checked_mul(dim));
        (size == Some(values.len())).then_some(Self { shape, values })
    }

    /// Rows of one length as `(rows, length)`; `None` when their lengths differ.
    pub fn from_rows(rows: &[Vec<f32>]) -> Option<Self> {
        let width = rows.first().map_or(0, Vec::len);
        if rows.iter().any(|row| row.len() != width) {
            return None;
        }
        Self::new(vec![rows.len(), width], rows.concat())
    }

    /// Sizes along each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Type of the values.
    pub fn dtype(&self) -> DType {
        DType::F32
    }

    /// All values, the last index running fastest.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether it has no value.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The values under the first indices: all of a row for all indices but the last, one value for all.
    /// `None` where there is no such place.
    pub fn at(&self, index: &[usize]) -> Option<&[f32]> {
        self.values.get(self.range(index)?)
    }

    /// The part under the first indices, with the shape that is left.
    pub fn part(&self, index: &[usize]) -> Option<Self> {
        Some(Self {
            shape: self.shape[index.len().min(self.shape.len())..].to_vec(),
            values: self.at(index)?.to_vec(),
        })
    }

    fn range(&self, index: &[usize]) -> Option<Range<usize>> {
        if index.len() > self.shape.len() {
            return None;
        }
        let mut start = 0;
        for (&at, &dim) in index.iter().zip(&self.shape) {
            if at >= dim {
                return None;
            }
            start = start * dim + at;
        }
        let size: usize = self.shape[index.len()..].iter().product();
        Some(start * size..(start + 1) * size)
    }
}

/// Floats as [`packed`] writes numbers.
mod floats {
    use super::{Deserialize, Deserializer, Serialize, Serializer, packed};

    pub fn serialize<S: Serializer>(values: &[f32], serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return values.serialize(serializer);
        }
        let bits: Vec<u32> = values.iter().map(|value| value.to_bits()).collect();
        packed::serialize(&bits, serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f32>, D::Error> {
        if deserializer.is_human_readable() {
            // JSON has no infinity: what was written as `null` was one, of a token that was ruled out.
            let values = Vec::<Option<f32>>::deserialize(deserializer)?;
            return Ok(values
                .into_iter()
                .map(|value| value.unwrap_or(f32::NEG_INFINITY))
                .collect());
        }
        let bits = packed::deserialize(deserializer)?;
        Ok(bits.into_iter().map(f32::from_bits).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_parts() {
        let array = Array::new(vec![2, 3], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).expect("fits");
        assert_eq!(array.at(&[1]), Some(&[3.0, 4.0, 5.0][..]));
        assert_eq!(array.at(&[1, 2]), Some(&[5.0][..]));
        assert_eq!(array.at(&[2]), None);
        assert_eq!(array.at(&[0, 0, 0]), None);
        assert_eq!(array.part(&[0]).expect("is there").shape(), [3]);
        assert!(Array::new(vec![2, 2], vec![0.0]).is_none());
        assert!(Array::from_rows(&[vec![1.0], vec![]]).is_none());
    }

    #[test]
    fn infinities_survive_both_formats() {
        let array = Array::new(vec![2], vec![f32::NEG_INFINITY, 1.5]).expect("fits");
        let bytes = rmp_serde::to_vec_named(&array).expect("is written");
        assert_eq!(
            rmp_serde::from_slice::<Array>(&bytes).expect("is read"),
            array
        );
        let json = serde_json::to_string(&array).expect("is written");
        assert_eq!(
            serde_json::from_str::<Array>(&json).expect("is read"),
            array
        );
    }
}
