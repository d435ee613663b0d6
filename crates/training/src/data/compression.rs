//! Bytes out of compressed inputs, in memory that does not grow with the input.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// The largest window that a frame may ask for: what `zstd --ultra -22` writes, and `--long=27`.
const LARGEST_WINDOW: u64 = 128 << 20;

/// Decompresses Zstandard: any number of frames, with frames to skip between them, as `cat a.zst b.zst`
/// and parallel compressors write them. A frame's checksum, where it has one, must be right.
pub(super) struct ZstdReader<R> {
    source: BufReader<R>,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: Read> ZstdReader<R> {
    pub(super) fn new(source: R) -> ZstdReader<R> {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(LARGEST_WINDOW);
        ZstdReader { source: BufReader::new(source), decoder, in_frame: false }
    }

    /// Begins the next frame. False at the end of the input.
    fn begin_frame(&mut self) -> io::Result<bool> {
        if self.source.fill_buf()?.is_empty() {
            return Ok(false);
        }
        match self.decoder.reset(&mut self.source) {
            Ok(()) => self.in_frame = true,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length,
                ..
            })) => {
                let skipped =
                    io::copy(&mut self.source.by_ref().take(u64::from(length)), &mut io::sink())?;
                if skipped < u64::from(length) {
                    return Err(cut_short());
                }
            }
            Err(error) => return Err(damaged(error)),
        }
        Ok(true)
    }

    fn end_frame(&mut self) -> io::Result<()> {
        self.in_frame = false;
        let stored = self.decoder.get_checksum_from_data();
        match (stored, self.decoder.get_calculated_checksum()) {
            (Some(stored), Some(calculated)) if stored != calculated => {
                Err(io::Error::new(ErrorKind::InvalidData, "a frame's checksum is wrong"))
            }
            _ => Ok(()),
        }
    }
}

impl<R: Read> Read for ZstdReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if self.in_frame && self.decoder.can_collect() > 0 {
                return self.decoder.read(buffer);
            }
            if !self.in_frame {
                if !self.begin_frame()? {
                    return Ok(0);
                }
            } else if self.decoder.is_finished() {
                self.end_frame()?;
            } else {
                self.decoder
                    .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(damaged)?;
            }
        }
    }
}

/// What a failed decoding says: the end of the input in the midst of a frame has its own words.
fn damaged(error: FrameDecoderError) -> io::Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>()
            && error.kind() == ErrorKind::UnexpectedEof
        {
            return cut_short();
        }
        cause = error.source();
    }
    io::Error::new(ErrorKind::InvalidData, error)
}

fn cut_short() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "it is cut short")
}

#[cfg(test)]
mod tests {
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        compress_to_vec(bytes, CompressionLevel::Fastest)
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        ZstdReader::new(bytes).read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn frames_are_read_one_after_the_other() {
        let long: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        let skipped = b"\x52\x2a\x4d\x18\x03\0\0\0abc";
        let cases: [(Vec<u8>, &[u8]); 4] = [
            (zstd(b"some text"), b"some text"),
            (zstd(&long), &long),
            ([zstd(b"one "), zstd(b"two")].concat(), b"one two"),
            ([&skipped[..], &zstd(b"one "), skipped, &zstd(b"two"), skipped].concat(), b"one two"),
        ];
        for (compressed, expected) in cases {
            assert!(read(&compressed).unwrap() == expected);
        }
    }

    #[test]
    fn a_file_cut_short_or_changed_is_an_error() {
        let text = "a line of text that comes again and again\n".repeat(1000);
        let whole = zstd(text.as_bytes());
        for length in 1..whole.len() {
            let error = read(&whole[..length]).expect_err("a part of a frame");
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{length}: {error}");
        }
        for at in 4..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            if let Ok(read) = read(&changed) {
                assert!(read == text.as_bytes(), "byte {at}: wrong and not said");
            }
        }
        let cut_skip = [zstd(b"one"), b"\x52\x2a\x4d\x18\x09\0\0\0abc".to_vec()].concat();
        assert!(read(&cut_skip).is_err());
    }
}
