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
/// Bytes that are expected for each that came, of a body that does not tell its size; events
/// rarely compress better. What is not filled of the room for them is never touched.
const RATIO_EXPECTED: usize = 16;
/// Shortest gzip member: a header of 10 bytes, an empty block, and a trailer of 8.
const GZIP_BYTES_MIN: usize = 20;

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

/// What a body of `encoding` decompresses to. Holds at most the output, in a buffer that is
/// never larger than the bounds and never copied, and the decoder's window of at most 8 MiB.
/// What will be refused by its size is counted, not kept, wherever the body tells it.
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
    let guess = || body.len().saturating_mul(RATIO_EXPECTED).min(bytes_max) as u64;
    let expected = told_bytes(encoding, body).unwrap_or_else(guess);
    let output = match encoding {
        Encoding::Identity => read_bounded(|| Ok(body), expected, bytes_max),
        Encoding::Gzip => read_bounded(|| Ok(MultiGzDecoder::new(body)), expected, bytes_max),
        Encoding::Zstd => read_bounded(|| zstd_reader(body), expected, bytes_max),
    };
    match output {
        Ok(Some(output)) => Ok(output),
        Ok(None) if limits.bytes_max <= by_ratio => Err(too_large(limits.bytes_max)),
        Ok(None) => Err(too_dense(limits.ratio_max)),
        Err(error) => Err(corrupt(&error)),
    }
}

fn zstd_reader(body: &[u8]) -> io::Result<impl Read> {
    let mut reader = zstd::stream::read::Decoder::with_buffer(body)?;
    reader.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    Ok(reader)
}

/// How many bytes come out, as far as the body tells: it may be of several parts of which this
/// is but one, or lie.
fn told_bytes(encoding: Encoding, body: &[u8]) -> Option<u64> {
    match encoding {
        Encoding::Identity => Some(body.len() as u64),
        Encoding::Gzip if body.len() < GZIP_BYTES_MIN => None,
        Encoding::Gzip => body.last_chunk().map(|size| u32::from_le_bytes(*size).into()),
        Encoding::Zstd => zstd::zstd_safe::get_frame_content_size(body).ok().flatten(),
    }
}

/// Reads to the end; `None`: that is over `bytes_max`. A body that holds more than it told is
/// read twice, to know its size before there is room for it: growing would copy it, and hold it
/// twice meanwhile.
fn read_bounded<R: Read>(
    open: impl Fn() -> io::Result<R>,
    expected: u64,
    bytes_max: usize,
) -> io::Result<Option<Vec<u8>>> {
    let mut reader = open()?;
    // More than may come out needs no room: all that is left to learn is why it is refused.
    let room = usize::try_from(expected).ok().filter(|room| *room <= bytes_max).unwrap_or(0);
    let output = fill(&mut reader, room)?;
    let mut bytes = output.len() as u64;
    if skip(&mut reader, 1)? == 0 {
        return Ok(Some(output));
    }
    drop(output);
    bytes += 1 + skip(&mut reader, (bytes_max as u64).saturating_sub(bytes))?;
    match usize::try_from(bytes) {
        Ok(bytes) if bytes <= bytes_max => fill(&mut open()?, bytes).map(Some),
        _ => Ok(None),
    }
}

/// The next bytes, at most as many as there is `room` made for.
fn fill(reader: &mut impl Read, room: usize) -> io::Result<Vec<u8>> {
    let mut output = Vec::with_capacity(room);
    reader.take(room as u64).read_to_end(&mut output)?;
    Ok(output)
}

/// Throws away the next bytes, at most `bytes_max`; how many there were.
fn skip(reader: &mut impl Read, bytes_max: u64) -> io::Result<u64> {
    io::copy(&mut reader.take(bytes_max), &mut io::sink())
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
    use std::cell::Cell;
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
        for size in [0, 1, 1000, 300_000] {
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
    fn the_buffer_has_room_for_what_comes_out_and_no_more() {
        let plain = text(100_000);
        let (head, tail) = plain.split_at(90_000);
        let check = |encoding, body: &[u8]| {
            let output = decompress(encoding, body, LIMITS).expect("within its bounds");
            assert_eq!((output.len(), output.capacity()), (plain.len(), plain.len()));
        };
        check(Encoding::Gzip, &gzip(&plain));
        check(Encoding::Gzip, &[gzip(head), gzip(tail)].concat());
        check(Encoding::Zstd, &zstd::bulk::compress(&plain, 3).expect("compress a slice"));
    }

    #[test]
    fn a_body_without_end_is_counted_up_to_its_bound() {
        for bytes_max in [0, 1, 100, 1_000_000] {
            for expected in [0, 1, bytes_max as u64, bytes_max as u64 + 1, u64::MAX] {
                let read = Cell::new(0);
                let open = || Ok(Counted(&read));
                let output = read_bounded(open, expected, bytes_max).expect("endless");
                assert_eq!(output, None, "{expected} bytes expected");
                assert_eq!(read.get(), bytes_max + 1, "{expected} bytes expected");
            }
        }
    }

    /// A body without end that counts what is read of it.
    struct Counted<'a>(&'a Cell<usize>);

    impl Read for Counted<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            buffer.fill(b'x');
            self.0.set(self.0.get() + buffer.len());
            Ok(buffer.len())
        }
    }
}
