//! What a decoder reads of its source texts: keys and values that every layer's cross-attention looks at,
//! computed once a source and shared by all sequences that are written about it.

use std::sync::Arc;

use candle_core::{Result, Tensor};

/// Keys and values of sources, and which source each row of a batch is about. Rows of one source lie side
/// by side.
#[derive(Clone, Debug)]
pub struct Memory {
    /// One a layer, each `(sources, heads, tokens, head_dim)`, shorter sources padded on the left.
    layers: Arc<[(Tensor, Tensor)]>,
    /// Padding before each source.
    padding: Arc<[usize]>,
    /// The source of each row.
    rows: Vec<usize>,
}

/// Rows of a batch whose sources have equally many rows each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first source, and how many there are.
    pub sources: (usize, usize),
    /// The first row.
    pub first_row: usize,
    /// Rows of each source.
    pub rows: usize,
}

impl Memory {
    /// Keys and values of each layer, for one row a source.
    pub fn new(layers: Vec<(Tensor, Tensor)>, padding: Vec<usize>) -> Self {
        Self {
            layers: layers.into(),
            rows: (0..padding.len()).collect(),
            padding: padding.into(),
        }
    }

    /// Keys and values of a layer, each `(sources, heads, tokens, head_dim)`.
    pub fn layer(&self, index: usize) -> Result<&(Tensor, Tensor)> {
        let found = self.layers.get(index);
        found.ok_or_else(|| candle_core::Error::msg(format!("no memory for layer {index}")))
    }

    /// Padding before some sources.
    pub fn padding(&self, (first, count): (usize, usize)) -> Arc<[usize]> {
        if count == self.padding.len() {
            return Arc::clone(&self.padding);
        }
        self.padding[first..first + count].into()
    }

    /// Number of rows.
    pub fn batch(&self) -> usize {
        self.rows.len()
    }

    /// Bytes that the keys and values take.
    pub fn bytes(&self) -> usize {
        let layers = self.layers.iter();
        layers.map(|(keys, _)| 2 * 4 * keys.elem_count()).sum()
    }

    /// The rows in runs: all together while every source has as many as the next.
    pub fn runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        let mut first_row = 0;
        for rows in self.rows.chunk_by(|a, b| a == b) {
            match runs.last_mut() {
                Some(run) if run.rows == rows.len() && run.sources.0 + run.sources.1 == rows[0] => {
                    run.sources.1 += 1;
                }
                _ => runs.push(Run {
                    sources: (rows[0], 1),
                    first_row,
                    rows: rows.len(),
                }),
            }
            first_row += rows.len();
        }
        runs
    }

    /// Makes row `i` what row `order[i]` was, and lets sources go that no row is about any more. Nothing is
    /// copied for a row.
    pub fn reorder(&mut self, order: &[usize]) -> Result<()> {
        let mut rows: Vec<usize> = order.iter().map(|&row| self.rows[row]).collect();
        let mut live = rows.clone();
        live.dedup();
        if live.len() < self.padding.len() && live.is_sorted() {
            let index: Vec<u32> = live.iter().map(|&source| source as u32).collect();
            let layers = self.layers.iter().map(|(keys, values)| {
                let index = Tensor::from_slice(&index, live.len(), keys.device())?;
                Ok((
                    keys.index_select(&index, 0)?,
                    values.index_select(&index, 0)?,
                ))
            });
            self.layers = layers.collect::<Result<Vec<_>>>()?.into();
            self.padding = live.iter().map(|&source| self.padding[source]).collect();
            for row in &mut rows {
                *row = live.partition_point(|source| source < row);
            }
        }
        self.rows = rows;
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails says where")]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::{Memory, Run};

    fn memory(sources: usize) -> Memory {
        let keys = Tensor::zeros((sources, 1, 2, 4), DType::F32, &Device::Cpu).unwrap();
        Memory::new(vec![(keys.clone(), keys)], (0..sources).collect())
    }

    fn run(sources: (usize, usize), first_row: usize, rows: usize) -> Run {
        Run {
            sources,
            first_row,
            rows,
        }
    }

    #[test]
    fn rows_share_their_source() {
        let mut memory = memory(3);
        memory.reorder(&[0, 0, 1, 1, 2, 2]).unwrap();
        assert_eq!(memory.runs(), [run((0, 3), 0, 2)]);
        // Beams change places within their source.
        memory.reorder(&[1, 1, 3, 2, 5, 5]).unwrap();
        assert_eq!(memory.runs(), [run((0, 3), 0, 2)]);
        // The second source is done.
        memory.reorder(&[0, 1, 4, 5]).unwrap();
        assert_eq!(memory.runs(), [run((0, 2), 0, 2)]);
        assert_eq!(*memory.padding((0, 2)), [0, 2]);
        assert_eq!(memory.layer(0).unwrap().0.dims(), [2, 1, 2, 4]);
        // One sequence of two is.
        memory.reorder(&[0, 2, 3]).unwrap();
        assert_eq!(memory.runs(), [run((0, 1), 0, 1), run((1, 1), 1, 2)]);
    }
}
