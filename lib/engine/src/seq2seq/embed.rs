//! What goes into the first layer of either half: token vectors, with the vectors of their positions where
//! there are such, and a norm where there is one.

use candle_core::{Device, Result, Tensor};

use crate::layers::{Embedding, LayerNorm};

/// Token vectors and positions of one half.
#[derive(Debug)]
pub struct Embed {
    pub words: Embedding,
    pub scale: Option<f64>,
    pub positions: Positions,
    pub norm: Option<LayerNorm>,
    pub hidden: usize,
    /// Where the layers are.
    pub device: Device,
}

/// Vectors of positions.
#[derive(Debug)]
pub enum Positions {
    /// None: attention knows distances.
    Relative,
    /// A table, whose first `offset` rows nobody uses.
    Table { table: Embedding, offset: usize },
    /// Sines and cosines of 10000^(-2i/width), as BART's siblings have them.
    Sinusoidal,
    /// The same of 10000^(-i/(width/2-1)), from one past the padding's id on; padding has none.
    AfterPadding(u32),
}

impl Embed {
    /// Vectors `(1, tokens, hidden)` of ids that follow `before` others of their row.
    pub fn forward(&self, ids: &[u32], before: usize) -> Result<Tensor> {
        let mut x = self.words.forward(ids)?;
        if let Some(scale) = self.scale {
            x = (x * scale)?;
        }
        let places = before..before + ids.len();
        let positions = match &self.positions {
            Positions::Relative => None,
            Positions::Table { table, offset } => {
                let rows: Vec<u32> = places.map(|place| (place + offset) as u32).collect();
                Some(table.forward(&rows)?)
            }
            Positions::Sinusoidal => {
                let rows: Vec<f32> = places.flat_map(|place| self.interleaved(place)).collect();
                Some(self.vectors(rows)?)
            }
            Positions::AfterPadding(padding) => {
                let mut place = before + *padding as usize;
                let rows: Vec<f32> = ids
                    .iter()
                    .flat_map(|id| {
                        if id == padding {
                            return vec![0.0; self.hidden];
                        }
                        place += 1;
                        self.halves(place)
                    })
                    .collect();
                Some(self.vectors(rows)?)
            }
        };
        if let Some(positions) = positions {
            x = (x + positions)?;
        }
        let x = x.to_device(&self.device)?;
        match &self.norm {
            Some(norm) => norm.forward(&x),
            None => Ok(x),
        }
    }

    fn vectors(&self, values: Vec<f32>) -> Result<Tensor> {
        let tokens = values.len() / self.hidden;
        Tensor::from_vec(values, (1, tokens, self.hidden), &Device::Cpu)
    }

    /// `_init_weight` of Marian and Pegasus: sines in the first half, cosines in the second. Computed in
    /// f64, as numpy does.
    fn interleaved(&self, place: usize) -> Vec<f32> {
        let half = self.hidden.div_ceil(2);
        let angle = |at: usize| {
            let period = 10_000_f64.powf((2 * (at / 2)) as f64 / self.hidden as f64);
            place as f64 / period
        };
        let sines = (0..half).map(|i| angle(2 * i).sin() as f32);
        let cosines = (0..self.hidden - half).map(|i| angle(2 * i + 1).cos() as f32);
        sines.chain(cosines).collect()
    }

    /// `get_embedding` of M2M100, in f32 as torch computes it.
    fn halves(&self, place: usize) -> Vec<f32> {
        let half = self.hidden / 2;
        let step = (10_000_f64.ln() / (half as f64 - 1.0)) as f32;
        let angle = |at: usize| place as f32 * (at as f32 * -step).exp();
        let sines = (0..half).map(|at| angle(at).sin());
        let cosines = (0..half).map(|at| angle(at).cos());
        let odd = (2 * half..self.hidden).map(|_| 0.0);
        sines.chain(cosines).chain(odd).collect()
    }
}
