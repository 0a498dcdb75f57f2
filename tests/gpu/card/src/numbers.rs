//! The types of instructions, and numbers as registers hold them.

use half::{bf16, f16};

use crate::lanes::ones;

/// What an instruction takes its registers for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// So many bits.
    Bits(u32),
    /// A number of so many bits from 0 on.
    Unsigned(u32),
    /// A number of so many bits.
    Signed(u32),
    /// `f16`, `f32` and `f64`.
    Float(u32),
    /// `bf16`.
    Brain,
    /// `f16x2`: two in a register.
    Halves,
    /// `bf16x2`.
    Brains,
    /// `pred`.
    Truth,
}

impl Type {
    /// `u32` and others, as instructions end with.
    pub fn of(word: &str) -> Option<Self> {
        Some(match word {
            "pred" => Self::Truth,
            "bf16" => Self::Brain,
            "f16x2" => Self::Halves,
            "bf16x2" => Self::Brains,
            _ => {
                let (kind, bits) = word.split_at_checked(1)?;
                let bits = bits.parse().ok()?;
                if ![8, 16, 32, 64].contains(&bits) {
                    return None;
                }
                match kind {
                    "b" => Self::Bits(bits),
                    "u" => Self::Unsigned(bits),
                    "s" => Self::Signed(bits),
                    "f" if bits > 8 => Self::Float(bits),
                    _ => return None,
                }
            }
        })
    }

    /// Its width.
    pub fn bits(self) -> u32 {
        match self {
            Self::Bits(bits) | Self::Unsigned(bits) | Self::Signed(bits) | Self::Float(bits) => {
                bits
            }
            Self::Brain => 16,
            Self::Halves | Self::Brains => 32,
            Self::Truth => 1,
        }
    }

    /// Whether it is a number that has a fraction.
    pub fn is_float(self) -> bool {
        matches!(
            self,
            Self::Float(_) | Self::Brain | Self::Halves | Self::Brains
        )
    }

    /// What each half of a register is, of those that hold two.
    pub fn half(self) -> Option<Self> {
        match self {
            Self::Halves => Some(Self::Float(16)),
            Self::Brains => Some(Self::Brain),
            _ => None,
        }
    }
}

/// The number that a register holds, exact in doubles but for the largest integers.
pub fn float(kind: Type, bits: u64) -> f64 {
    match kind {
        Type::Float(16) => f16::from_bits(bits as u16).to_f64(),
        Type::Brain => bf16::from_bits(bits as u16).to_f64(),
        Type::Float(32) => f64::from(f32::from_bits(bits as u32)),
        Type::Float(_) => f64::from_bits(bits),
        Type::Signed(_) => signed(kind, bits) as f64,
        _ => (bits & ones(kind.bits())) as f64,
    }
}

/// The nearest of a type.
pub fn rounded(kind: Type, value: f64) -> u64 {
    match kind {
        Type::Float(16) => f16::from_f32(odd(value)).to_bits().into(),
        Type::Brain => bf16::from_f32(odd(value)).to_bits().into(),
        Type::Float(32) => (value as f32).to_bits().into(),
        _ => value.to_bits(),
    }
}

/// A number between which and this no number of 16 bits lies, nor one half way between two: it is rounded as this is. What
/// is lost of it sets its last bit (Boldo and Melquiond, "When double rounding is odd", 2005).
fn odd(value: f64) -> f32 {
    let nearest = value as f32;
    if f64::from(nearest).to_bits() == value.to_bits() || value.is_nan() {
        return nearest;
    }
    let is_beyond = f64::from(nearest).abs() > value.abs();
    f32::from_bits((nearest.to_bits() - u32::from(is_beyond)) | 1)
}

/// The number that a register holds, of those with a sign.
pub fn signed(kind: Type, bits: u64) -> i64 {
    let unused = 64 - kind.bits();
    (bits << unused).cast_signed() >> unused
}

/// The same with or without one, so that all can be compared.
pub fn integer(kind: Type, bits: u64) -> i128 {
    match kind {
        Type::Signed(_) => signed(kind, bits).into(),
        _ => (bits & ones(kind.bits())).into(),
    }
}

/// `a * b + c`, rounded down: sums in doubles of what is exact there tell on which side it lies.
pub fn fused_down(a: f32, b: f32, c: f32) -> f32 {
    let nearest = a.mul_add(b, c);
    let (product, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let sum = product + c;
    // What the sum lost (Knuth's two-sum).
    let other = sum - product;
    let lost = (product - (sum - other)) + (c - other);
    let above = (f64::from(nearest) - sum) - lost;
    if above > 0.0 {
        nearest.next_down()
    } else {
        nearest
    }
}

/// To the integer that a word of an instruction says.
pub fn whole(word: &str) -> Option<fn(f64) -> f64> {
    Some(match word {
        "rni" => f64::round_ties_even,
        "rzi" => f64::trunc,
        "rmi" => f64::floor,
        "rpi" => f64::ceil,
        _ => return None,
    })
}
