//! What quantisation did to a model: sizes and errors layer by layer, and where its weights lie among
//! the values they were rounded to. How that looks is `display`'s.

use serde::{Deserialize, Serialize};

/// A model's quantised weights, held against those of its files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QuantizationReport {
    /// Repository or path of the model.
    pub name: String,
    /// How it is quantised: `nf4, double quantised`, `int8`, `Q4_K`.
    pub quantization: String,
    /// The layers that are quantised, in the order of their names.
    pub layers: Vec<QuantizedLayer>,
    /// All other weights together: what they take in the files, and in memory.
    pub others: Sizes,
    /// Relative error of all quantised weights together, as [`QuantizedLayer::relative_rmse`].
    pub relative_rmse: Option<f64>,
    /// How many weights have each value of the code book, by ascending value; of 4-bit weights of
    /// bitsandbytes only.
    pub codes: Vec<CodeCount>,
    /// Weights of the files over the largest magnitude of their block (of their row, in 8 bits): how
    /// many lie in each of so many equal parts of [-1, 1]. Empty where there is no one such scale.
    pub histogram: Vec<u64>,
    /// Why errors are not known, where they are not.
    pub without_originals: Option<String>,
}

/// A layer before and after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuantizedLayer {
    /// The module's name in the files: `model.layers.0.self_attn.q_proj`.
    pub name: String,
    /// Number of weights.
    pub weights: u64,
    /// How its files store it: `BF16`; `None` where that is how it is now.
    pub stored_as: Option<String>,
    /// How it is in memory: `nf4`, `int8`, `Q4_K`.
    pub quantized_as: String,
    /// Bytes before and after, the scales of blocks included.
    pub bytes: Sizes,
    /// Root of the mean squared error of the quantised weights, over the root of the mean square of
    /// those in the files. `None` where the files have the quantised ones only.
    pub relative_rmse: Option<f64>,
}

/// Bytes of weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// In the files; `None` where they hold what is quantised already.
    pub before: Option<u64>,
    /// In memory.
    pub after: u64,
}

/// A value of a code book, and how often it stands for a weight.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CodeCount {
    /// The four bits.
    pub code: u8,
    /// What they stand for, times the scale of a block.
    pub value: f32,
    /// How many weights have it.
    pub count: u64,
}

impl QuantizationReport {
    /// Bytes of all weights; before where that is known of all.
    pub fn total(&self) -> Sizes {
        self.quantized().and(self.others)
    }

    /// Bytes of the quantised layers.
    pub fn quantized(&self) -> Sizes {
        let layers = self.layers.iter().map(|layer| layer.bytes);
        let none = Sizes {
            before: Some(0),
            after: 0,
        };
        layers.fold(none, Sizes::and)
    }
}

impl Sizes {
    /// Both together; before where that is known of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            before: self.before.zip(other.before).map(|(a, b)| a + b),
            after: self.after + other.after,
        }
    }
}
