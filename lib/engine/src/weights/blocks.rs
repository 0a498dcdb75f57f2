//! Plain floats to blocks of ggml, by candle's quantisers: those of the simple types are llama.cpp's
//! reference, those of the K types search less than llama.cpp does.

use candle_core::{
    Device, Result, Tensor,
    quantized::{GgmlDType, QTensor},
};

use super::Format;

/// Quantises values, a whole number of blocks, into the bytes that they take. Fails on a format that
/// has no blocks.
pub(crate) fn quantize(format: Format, values: Vec<f32>, bytes: &mut [u8]) -> Result<()> {
    let dtype = match format {
        Format::Q4_0 => GgmlDType::Q4_0,
        Format::Q4_1 => GgmlDType::Q4_1,
        Format::Q5_0 => GgmlDType::Q5_0,
        Format::Q5_1 => GgmlDType::Q5_1,
        Format::Q8_0 => GgmlDType::Q8_0,
        Format::Q2K => GgmlDType::Q2K,
        Format::Q3K => GgmlDType::Q3K,
        Format::Q4K => GgmlDType::Q4K,
        Format::Q5K => GgmlDType::Q5K,
        Format::Q6K => GgmlDType::Q6K,
        Format::F32 | Format::F16 | Format::BF16 | Format::Byte => {
            candle_core::bail!("{} has no blocks", format.name())
        }
    };
    let length = values.len();
    let tensor = Tensor::from_vec(values, length, &Device::Cpu)?;
    let packed = QTensor::quantize(&tensor, dtype)?;
    let packed = packed.data()?;
    if packed.len() != bytes.len() {
        candle_core::bail!("{} bytes in place of {}", packed.len(), bytes.len());
    }
    bytes.copy_from_slice(&packed);
    Ok(())
}
