//! Compressed bodies: gzip (also of several members) and zstd (also of several frames), with
//! bounds on what comes out. Pure and blocking.

use std::io::{self, Read};

use flate2::bufread::MultiGzDecoder;

use crate::code::{Code, Reject};

/// Output below which the ratio is not judged: a small body of equal events may honestly
/// expand a lot, and costs little.
pub const RATIO_FREE_BYTES: usize = 1024 * 1024;
/// Largest window of a zstd frame, as a power of two: 8 MiB, what RFC 8878 recommends every
/// decoder to support. A frame's header alone makes the decoder allocate its window.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// First allocation for the output; it grows by doubling, as bytes really come.
const OUTPUT_BYTES_FIRST: usize = 16 * 1024;

/// How a body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As it is.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Encoding {
    /// The encoding of a `Content-Encoding` header; `None` for those that are not read, several
    /// at once among them: the answer is [`Code::UnsupportedEncoding`].
    pub fn from_header(value: &str) -> Option<Self> {
        let value = value.trim();
        let names = [
            ("", Self::Identity),
            ("identity", Self::Identity),
            ("gzip", Self::Gzip),
            ("x-gzip", Self::Gzip),
            ("zstd", Self::Zstd),
        ];
        names.into_iter().find_map(|(name, is)| name.eq_ignore_ascii_case(value).then_some(is))
    }
}

/// How far a body may expand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpandLimits {
    /// Most bytes that may come out.
    pub bytes_max: usize,
    /// Most bytes that may come out for each that went in, beyond [`RATIO_FREE_BYTES`].
    pub ratio_max: usize,
}

/// What a body of `encoding` decompresses to. Holds at most the output (its buffer is never
/// larger than the smaller bound and one byte) and the decoder's window of at most 8 MiB.
///
/// # Errors
/// [`Code::CorruptEncoding`] for damage, a cut body or a zstd window over 8 MiB,
/// [`Code::DecompressedTooLarge`] and [`Code::CompressionRatio`] for output over its bounds.
pub fn decompress(
    encoding: Encoding,
    body: &[u8],
    limits: ExpandLimits,
) -> Result<Vec<u8>, Reject> {
    let by_ratio = body.len().saturating_mul(limits.ratio_max).max(RATIO_FREE_BYTES);
    let bytes_max = limits.bytes_max.min(by_ratio);
    let output = match encoding {
        Encoding::Identity => read_bounded(body, bytes_max),
        Encoding::Gzip => read_bounded(MultiGzDecoder::new(body), bytes_max),
        Encoding::Zstd => zstd_reader(body).and_then(|reader| read_bounded(reader, bytes_max)),
    };
    match output {
        Ok(output) if output.len() <= bytes_max => Ok(output),
        Ok(_) if limits.bytes_max <= by_ratio => Err(too_large(limits.bytes_max)),
        Ok(_) => Err(too_dense(limits.ratio_max)),
        Err(error) => Err(corrupt(&error)),
    }
}

fn zstd_reader(body: &[u8]) -> io::Result<impl Read> {
    let mut reader = zstd::stream::read::Decoder::with_buffer(body)?;
    reader.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    Ok(reader)
}

/// Reads to the end, or up to one byte more than `bytes_max`.
fn read_bounded(mut reader: impl Read, bytes_max: usize) -> io::Result<Vec<u8>> {
    let most = bytes_max.saturating_add(1);
    let mut output = Vec::new();
    loop {
        let capacity = (output.len() * 2).max(OUTPUT_BYTES_FIRST).min(most);
        let room = capacity - output.len();
        output.reserve_exact(room);
        let read = reader.by_ref().take(room as u64).read_to_end(&mut output)?;
        if read < room || output.len() == most {
            return Ok(output);
        }
    }
}

fn too_large(bytes_max: usize) -> Reject {
    let message = format!("the body has more than {bytes_max} bytes once decompressed");
    Reject::new(Code::DecompressedTooLarge, message)
}

fn too_dense(ratio_max: usize) -> Reject {
    let message = format!(
        "the body has over {ratio_max} times as many bytes once decompressed; send smaller \
         batches or none that repeat one event"
    );
    Reject::new(Code::CompressionRatio, message)
}

fn corrupt(error: &io::Error) -> Reject {
    let message = match error.kind() {
        io::ErrorKind::UnexpectedEof => "the compressed body is cut short".to_owned(),
        _ => format!("the compressed body can't be read: {error}"),
    };
    Reject::new(Code::CorruptEncoding, message)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const LIMITS: ExpandLimits = ExpandLimits { bytes_max: 4 * 1024 * 1024, ratio_max: 200 };

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        writer.write_all(bytes).expect("write to a vector");
        writer.finish().expect("write to a vector")
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::stream::encode_all(bytes, 3).expect("compress a slice")
    }

    fn code(encoding: Encoding, body: &[u8], limits: ExpandLimits) -> Option<Code> {
        decompress(encoding, body, limits).err().map(|reject| reject.code)
    }

    /// Text that neither compresses well nor badly.
    fn text(bytes: usize) -> Vec<u8> {
        let mut state = 7_u32;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b'a' + (state >> 28) as u8
        })
        .take(bytes)
        .collect()
    }

    #[test]
    fn headers_name_what_is_read() {
        let check = |value, expected| assert_eq!(Encoding::from_header(value), expected, "{value}");
        check("", Some(Encoding::Identity));
        check("identity", Some(Encoding::Identity));
        check(" GZip ", Some(Encoding::Gzip));
        check("x-gzip", Some(Encoding::Gzip));
        check("zstd", Some(Encoding::Zstd));
        for value in ["br", "deflate", "gzip, gzip", "gzip,zstd", "gz"] {
            check(value, None);
        }
    }

    #[test]
    fn what_was_compressed_comes_out_from_one_part_or_several() {
        for size in [0, 1, OUTPUT_BYTES_FIRST - 1, OUTPUT_BYTES_FIRST, 300_000] {
            let plain = text(size);
            let (head, tail) = plain.split_at(size / 3);
            let expand = |encoding, body: &[u8]| decompress(encoding, body, LIMITS);
            assert_eq!(expand(Encoding::Identity, &plain).as_ref(), Ok(&plain));
            assert_eq!(expand(Encoding::Gzip, &gzip(&plain)).as_ref(), Ok(&plain));
            assert_eq!(expand(Encoding::Zstd, &zstd(&plain)).as_ref(), Ok(&plain));
            let members = [gzip(head), gzip(tail)].concat();
            assert_eq!(expand(Encoding::Gzip, &members).as_ref(), Ok(&plain), "gzip members");
            let frames = [zstd(head), zstd(tail)].concat();
            assert_eq!(expand(Encoding::Zstd, &frames).as_ref(), Ok(&plain), "zstd frames");
        }
    }

    #[test]
    fn every_cut_and_damage_is_named() {
        let plain = text(2_000);
        for (encoding, body) in [(Encoding::Gzip, gzip(&plain)), (Encoding::Zstd, zstd(&plain))] {
            for length in 1..body.len() {
                let cut = code(encoding, &body[..length], LIMITS);
                assert_eq!(cut, Some(Code::CorruptEncoding), "{encoding:?} cut at {length}");
            }
            let trailing = [&body[..], b"garbage"].concat();
            assert_eq!(code(encoding, &trailing, LIMITS), Some(Code::CorruptEncoding));
            assert_eq!(code(encoding, b"{\"a\":1}", LIMITS), Some(Code::CorruptEncoding));
        }
        let mut damaged = gzip(&plain);
        let middle = damaged.len() / 2;
        damaged[middle] ^= 0xFF;
        assert_eq!(code(Encoding::Gzip, &damaged, LIMITS), Some(Code::CorruptEncoding));
    }

    #[test]
    fn output_ends_at_its_bound() {
        let plain = text(100_000);
        let exact = ExpandLimits { bytes_max: plain.len(), ..LIMITS };
        let short = ExpandLimits { bytes_max: plain.len() - 1, ..LIMITS };
        for (encoding, body) in [
            (Encoding::Identity, plain.clone()),
            (Encoding::Gzip, gzip(&plain)),
            (Encoding::Zstd, zstd(&plain)),
        ] {
            let output = decompress(encoding, &body, exact).expect("within its bound");
            assert!(output.capacity() <= plain.len() + 1, "{encoding:?}: {}", output.capacity());
            assert_eq!(code(encoding, &body, short), Some(Code::DecompressedTooLarge));
        }
    }

    #[test]
    fn a_bomb_is_refused_by_its_ratio_and_small_repetition_is_not() {
        let limits = ExpandLimits { bytes_max: 1 << 30, ratio_max: 200 };
        for compress in [gzip as fn(&[u8]) -> Vec<u8>, zstd] {
            let encoding = if compress(b"")[0] == 0x1F { Encoding::Gzip } else { Encoding::Zstd };
            let small = compress(&vec![b' '; RATIO_FREE_BYTES]);
            assert!(small.len() < RATIO_FREE_BYTES / 400, "{}", small.len());
            assert_eq!(code(encoding, &small, limits), None);
            let bomb = compress(&vec![b' '; 64 << 20]);
            assert_eq!(code(encoding, &bomb, limits), Some(Code::CompressionRatio));
            let small_bound = ExpandLimits { bytes_max: 512 * 1024, ..limits };
            assert_eq!(code(encoding, &bomb, small_bound), Some(Code::DecompressedTooLarge));
        }
    }

    #[test]
    fn a_zstd_window_over_its_bound_is_refused() {
        let mut writer = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("an encoder");
        writer.window_log(ZSTD_WINDOW_LOG_MAX + 1).expect("a window of 16 MiB");
        writer.include_contentsize(false).expect("no size");
        writer.write_all(b"{}").expect("write to a vector");
        let body = writer.finish().expect("write to a vector");
        assert_eq!(code(Encoding::Zstd, &body, LIMITS), Some(Code::CorruptEncoding));
    }

    #[test]
    fn a_header_that_lies_about_its_size_costs_nothing() {
        // Magic, one segment with a size of 8 bytes: 1 TiB; then one raw block of 2 bytes.
        let mut body = b"\x28\xB5\x2F\xFD\xE0".to_vec();
        body.extend_from_slice(&(1_u64 << 40).to_le_bytes());
        body.extend_from_slice(b"\x11\0\0{}");
        assert_eq!(code(Encoding::Zstd, &body, LIMITS), Some(Code::CorruptEncoding));
    }

    #[test]
    fn the_buffer_never_outgrows_the_bound_of_a_body_without_end() {
        for bytes_max in [0, 1, OUTPUT_BYTES_FIRST - 1, OUTPUT_BYTES_FIRST, 1_000_000] {
            let output = read_bounded(io::repeat(b'x'), bytes_max).expect("endless");
            assert_eq!(output.len(), bytes_max + 1);
            assert!(output.capacity() <= bytes_max + 1, "{}", output.capacity());
        }
    }
}
