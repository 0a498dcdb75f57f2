//! Normalisation over the last dimension: by the root mean square (Zhang and Sennrich, 2019) and by
//! mean and variance (Ba et al., 2016).

use candle_core::{Result, Tensor};
use wire::model::DType;

use super::composed;
use crate::kernels::{Normalize, RootMeanSquare, Sum};

/// A norm of either kind.
#[derive(Clone, Debug)]
pub enum Norm {
    /// By the root mean square.
    Rms(RmsNorm),
    /// By mean and variance.
    Layer(LayerNorm),
}

impl Norm {
    /// From `(…, hidden)` to the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_as(x, DType::F32)
    }

    /// The same in another type, where whoever takes it would round to that.
    pub fn forward_as(&self, x: &Tensor, gives: DType) -> Result<Tensor> {
        match self {
            Self::Rms(norm) => norm.forward_as(x, gives),
            Self::Layer(norm) => norm.forward_as(x, gives),
        }
    }

    /// Of the sum of two.
    pub fn forward_sum(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        match self {
            Self::Rms(norm) => norm.forward(&sum(x, y)?),
            Self::Layer(norm) => norm.forward_sum(x, y),
        }
    }
}

/// What a layer takes, before the norm in front of it: who multiplies with it may do both at once.
#[derive(Clone, Copy, Debug)]
pub struct Normed<'a> {
    /// `(…, hidden)`.
    pub x: &'a Tensor,
    /// What it goes through; `None` where it is taken as it is.
    pub norm: Option<&'a Norm>,
}

impl<'a> From<&'a Tensor> for Normed<'a> {
    fn from(x: &'a Tensor) -> Self {
        Self { x, norm: None }
    }
}

impl Normed<'_> {
    /// What comes of the norm, in a type, where whoever takes it would round to that.
    pub fn whole(&self, gives: DType) -> Result<Tensor> {
        match self.norm {
            Some(norm) => norm.forward_as(self.x, gives),
            None => Ok(self.x.clone()),
        }
    }
}

/// `x + y` of two of one shape.
pub fn sum(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    if composed::serves(x) {
        return x + y;
    }
    x.apply_op2_no_bwd(y, &Sum)
}

/// `x / √(mean(x²) + ε) · w` over the last dimension.
#[derive(Clone, Debug)]
pub struct RmsNorm {
    weight: Tensor,
    epsilon: f32,
}

impl RmsNorm {
    /// A norm of a weight `(hidden)`.
    pub fn new(weight: Tensor, epsilon: f64) -> Self {
        Self {
            weight,
            epsilon: epsilon as f32,
        }
    }

    /// From `(…, hidden)`, contiguous, to the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_as(x, DType::F32)
    }

    fn forward_as(&self, x: &Tensor, gives: DType) -> Result<Tensor> {
        if composed::serves(x) {
            return composed::root_mean_square(x, &self.weight, self.epsilon);
        }
        self.with(|norm| x.apply_op1_no_bwd(&RootMeanSquare { gives, ..norm }))
    }

    /// Its weight `(hidden)`, and what is added under the root.
    pub(crate) fn parts(&self) -> (&Tensor, f32) {
        (&self.weight, self.epsilon)
    }

    /// Gives it to what normalises by the way.
    pub(crate) fn with<T>(&self, run: impl FnOnce(RootMeanSquare) -> Result<T>) -> Result<T> {
        let weight = self.weight.to_vec1()?;
        run(RootMeanSquare {
            weight: &weight,
            epsilon: self.epsilon,
            gives: DType::F32,
        })
    }
}

/// `(x - mean(x)) / √(var(x) + ε) · w + b` over the last dimension.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f32,
}

impl LayerNorm {
    /// A norm of a weight and a bias, each `(hidden)`.
    pub fn new(weight: Tensor, bias: Tensor, epsilon: f64) -> Self {
        Self {
            weight,
            bias,
            epsilon: epsilon as f32,
        }
    }

    /// From `(…, hidden)`, contiguous, to the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_as(x, DType::F32)
    }

    fn forward_as(&self, x: &Tensor, gives: DType) -> Result<Tensor> {
        if composed::serves(x) {
            return composed::layer_norm(x, (&self.weight, &self.bias), self.epsilon);
        }
        self.with(gives, |norm| x.apply_op1_no_bwd(norm))
    }

    /// Of the sum of two.
    pub fn forward_sum(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        if composed::serves(x) {
            return self.forward(&sum(x, y)?);
        }
        self.with(DType::F32, |norm| x.apply_op2_no_bwd(y, norm))
    }

    fn with(&self, gives: DType, run: impl FnOnce(&Normalize) -> Result<Tensor>) -> Result<Tensor> {
        let (weight, bias) = (self.weight.to_vec1()?, self.bias.to_vec1()?);
        run(&Normalize {
            weight: &weight,
            bias: &bias,
            epsilon: self.epsilon,
            gives,
        })
    }
}
