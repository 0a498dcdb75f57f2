//! Which kernels of `four_bit.cu` and `blocks.cu` multiply some tokens with a matrix, and how they are told of it.

use candle_core::{DType, Result, Tensor, bail};

use super::{
    Text, address, address_of, start,
    unsafe_values::{four_bit_text, text_of},
};
use crate::{
    cuda::short_dtype,
    layers::{BlocksOnDevice, FourBitOnDevice, Packed, Scales},
    weights::Format,
};

/// Values that a lane takes at once.
pub(super) const LANE_VALUES: usize = 32;
/// Tokens up to which there are kernels in registers, and of one tile; and up to which the former are used where tiles are
/// there for more. Of eight tokens a kernel in registers has 2,200 instructions where tiles have 1,000 for thirty-two.
const FEW_TOKENS: usize = 8;
const FEWER_TOKENS: usize = 4;
/// Tokens up to which numbers of 16 bits are made of a matrix as it lies, which tensor cores multiply; of more, values are
/// made of the whole matrix for a library's product. Each 32 tokens, which a block takes, read the matrix anew: still less
/// than to write values and read them.
const MOST_TOKENS: usize = 64;
pub(super) const TILED_TOKENS: usize = 32;

/// `Matrix` of the kernels.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Matrix {
    packed: u64,
    book: u64,
    scales: u64,
    codes: u64,
    map: u64,
    bias: u64,
    offset: f32,
    block: u32,
    pub(super) rows: u32,
    from: u32,
}

/// How so many tokens are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// In registers, by the kernel of 1, 2, 4 or 8.
    Few,
    /// By a tile of tensor cores, which a kernel fills itself.
    Tile,
    /// By several, of tokens that were laid for them.
    Tiles,
}

/// The kernels of a matrix.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) text: Text,
    /// In names of those that multiply by tiles.
    pub(super) name: &'static str,
    /// Those of few tokens, but for how many.
    pub(super) few: String,
    /// What products of few and of more tokens are computed in.
    dtypes: (DType, DType),
    /// Tokens up to which there is a kernel of one tile, and up to which there are any.
    tile: usize,
    most: usize,
    pub(super) shape: (usize, usize),
    /// Whether it lies as kernels read it: a lane's values in one block, rows one after the other.
    is_served: bool,
    /// All of it, without its bias.
    whole: Matrix,
}

impl Known {
    pub(super) fn of(packed: &Packed) -> Result<Self> {
        match packed {
            Packed::FourBit(matrix) => Self::of_four_bit(matrix),
            Packed::Blocks(matrix) => Self::of_blocks(matrix),
            Packed::Floats(matrix) => Self::of_floats(matrix),
        }
    }

    fn of_four_bit(matrix: &FourBitOnDevice) -> Result<Self> {
        let (text, kind) = four_bit_text(matrix.dtype)?;
        Ok(Self {
            text,
            name: "four_bit",
            few: format!("multiply_four_bit_{kind}"),
            dtypes: (matrix.dtype, matrix.dtype),
            tile: FEW_TOKENS,
            most: MOST_TOKENS,
            shape: matrix.shape,
            is_served: matrix.block.is_multiple_of(LANE_VALUES) && matrix.block.is_power_of_two(),
            whole: four_bit(matrix)?,
        })
    }

    fn of_blocks(matrix: &BlocksOnDevice) -> Result<Self> {
        let (text, name) = text_of(matrix.format)?;
        Ok(Self {
            text,
            name,
            few: format!("multiply_{name}"),
            // Of few tokens activations are taken as they are.
            dtypes: (DType::F32, matrix.dtype),
            tile: 0,
            most: MOST_TOKENS,
            shape: matrix.shape,
            is_served: true,
            whole: Matrix {
                packed: address(&matrix.packed, DType::U8)?,
                ..Matrix::default()
            },
        })
    }

    fn of_floats(matrix: &Tensor) -> Result<Self> {
        let dtype = matrix.dtype();
        let format = match dtype {
            DType::F16 => Format::F16,
            _ => Format::BF16,
        };
        let (text, name) = text_of(format)?;
        let is_served = matches!(dtype, DType::F16 | DType::BF16) && matrix.is_contiguous();
        Ok(Self {
            text,
            name,
            few: format!("multiply_rounded_{name}"),
            dtypes: (dtype, dtype),
            tile: 0,
            // There are no values to make: reading them twice is no gain.
            most: TILED_TOKENS,
            shape: matrix.dims2()?,
            is_served,
            whole: Matrix {
                packed: if is_served { start(matrix)? } else { 0 },
                ..Matrix::default()
            },
        })
    }

    /// How so many tokens are multiplied; `None` of those that no kernel takes.
    pub(super) fn how(&self, tokens: usize) -> Option<How> {
        let is_served = self.is_served && self.shape.1.is_multiple_of(LANE_VALUES) && tokens > 0;
        match tokens {
            _ if !is_served => None,
            _ if !self.has_tiles() => (tokens <= FEW_TOKENS).then_some(How::Few),
            _ if tokens <= self.tile => Some(How::Tile),
            _ if tokens <= FEWER_TOKENS => Some(How::Few),
            _ => (tokens <= self.most).then_some(How::Tiles),
        }
    }

    /// Whether there are kernels by tiles: in types of 16 bits that tensor cores have.
    fn has_tiles(&self) -> bool {
        [DType::F16, short_dtype()].contains(&self.dtypes.1)
    }

    /// The type of tiles, in names of kernels.
    pub(super) fn tile_kind(&self) -> &'static str {
        match self.dtypes.1 {
            DType::F16 => "f16",
            _ => "bf16",
        }
    }

    /// Whether a launch serves both.
    pub(super) fn goes_with(&self, other: &Self) -> bool {
        (self.text.name, &self.few, self.dtypes) == (other.text.name, &other.few, other.dtypes)
            && self.shape.1 == other.shape.1
    }

    /// Some of its rows.
    pub(super) fn matrix(&self, bias: Option<&Tensor>, from: usize, rows: usize) -> Result<Matrix> {
        if bias.is_some_and(|bias| bias.dims() != [rows]) {
            bail!("a bias {bias:?} of {rows} rows");
        }
        Ok(Matrix {
            bias: address_of(bias)?,
            rows: rows as u32,
            from: from as u32,
            ..self.whole
        })
    }
}

fn four_bit(matrix: &FourBitOnDevice) -> Result<Matrix> {
    let floats = |tensor: &Tensor| address(tensor, DType::F32);
    let plain = Matrix {
        packed: address(&matrix.packed, DType::U8)?,
        book: floats(&matrix.book)?,
        block: matrix.block as u32,
        ..Matrix::default()
    };
    Ok(match &matrix.scales {
        Scales::Plain(scales) => Matrix {
            scales: floats(scales)?,
            ..plain
        },
        Scales::Nested {
            codes,
            outer,
            map,
            offset,
        } => Matrix {
            scales: floats(outer)?,
            codes: address(codes, DType::U8)?,
            map: floats(map)?,
            offset: *offset,
            ..plain
        },
    })
}
