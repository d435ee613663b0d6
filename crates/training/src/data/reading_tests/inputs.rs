//! Several inputs, compressed ones, pipes, and files that are no text.

use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::*;
use crate::TrainingError;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    compress_to_vec(bytes, CompressionLevel::Fastest)
}

#[test]
fn rows_stream_from_an_endless_source() {
    struct Endless(u64);
    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let line = b"{\"text\": \"again and again\"}\n";
            for byte in buffer.iter_mut() {
                *byte = line[(self.0 % line.len() as u64) as usize];
                self.0 += 1;
            }
            Ok(buffer.len())
        }
    }
    let columns = Columns::text("text");
    let mut reader = ExampleReader::from_reader(
        "endless",
        Box::new(Endless(0)),
        RowFormat::JsonLines,
        &columns,
        &ReadOptions::default(),
    )
    .unwrap();
    let last = reader.by_ref().take(10_000).last().unwrap().unwrap();
    assert_eq!((last.text.as_str(), last.place.line), ("again and again", 10_000));
    assert_eq!(reader.report().rows, 10_000);
}

#[test]
fn several_files_are_one_stream_with_their_own_headers_and_encodings() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("a.tsv"), "label\ttext\na\tone\n").unwrap();
    fs::write(path("b.csv"), "text,label\n\"two\n2\",b\n").unwrap();
    let mut gzip =
        GzEncoder::new(fs::File::create(path("c.jsonl.gz")).unwrap(), Compression::fast());
    gzip.write_all(b"{\"text\":\"three\",\"label\":\"c\"}\n").unwrap();
    gzip.finish().unwrap();

    let inputs = Input::resolve(&[path("*")]).unwrap();
    let (examples, report) =
        read_examples(&inputs, &text_and_label(), &ReadOptions::default()).unwrap();
    let rows: Vec<Short> = examples.into_iter().map(short).collect();
    assert_eq!(rows, [row("one", "a", 2), row("two\n2", "b", 2), row("three", "c", 1)]);
    assert!(report.is_clean() && report.rows == 3);

    fs::write(path("d.tsv"), "label\ttext\n").unwrap();
    let inputs = Input::resolve(&[path("a.tsv"), path("d.tsv")]).unwrap();
    let mut reader =
        ExampleReader::open(&inputs, &text_and_label(), &ReadOptions::default()).unwrap();
    assert!(reader.next().unwrap().is_ok());
    let error = reader.next().unwrap().unwrap_err().to_string();
    assert!(
        error.ends_with("d.tsv has a header line and no rows; give a file with rows"),
        "{error}"
    );
    assert!(reader.next().is_none(), "an error ends the reader");

    fs::write(path("e"), "x").unwrap();
    let inputs = Input::resolve(&[path("a.tsv"), path("e")]).unwrap();
    let unclear = ExampleReader::open(&inputs, &text_and_label(), &ReadOptions::default());
    assert!(matches!(unclear, Err(TrainingError::FormatUnclear { .. })));

    fs::write(path("f.csv"), b"text,label\ncaf\xe9,a\n").unwrap();
    let inputs = Input::resolve(&[path("f.csv")]).unwrap();
    let latin = ReadOptions {
        encoding: TextEncoding::from_name("latin-1").unwrap(),
        ..ReadOptions::default()
    };
    let (examples, _) = read_examples(&inputs, &text_and_label(), &latin).unwrap();
    assert_eq!(examples[0].text, "café");

    fs::write(path("g.tsv.gz"), "text\tlabel\nx\ta\n").unwrap();
    let inputs = Input::resolve(&[path("g.tsv.gz")]).unwrap();
    let error = read_examples(&inputs, &text_and_label(), &latin).unwrap_err().to_string();
    assert!(error.contains("g.tsv.gz: cannot decompress: not a compressed file"), "{error}");
}

#[test]
fn compression_is_seen_from_the_first_bytes() {
    let rows = "\u{feff}text,label\nx,a\n";
    let split = |pack: fn(&[u8]) -> Vec<u8>| {
        let (first, second) = rows.as_bytes().split_at(12);
        [pack(first), pack(second)].concat()
    };
    let cases = [
        gzip(rows.as_bytes()),
        zstd(rows.as_bytes()),
        split(gzip),
        split(zstd),
        gzip(&zstd(rows.as_bytes())),
        zstd(&gzip(rows.as_bytes())),
    ];
    for bytes in cases {
        let read = read(RowFormat::Csv, &bytes, &text_and_label(), &ReadOptions::default());
        assert_eq!(read.unwrap().0, [row("x", "a", 2)]);
    }
    let twice = gzip(&gzip(rows.as_bytes()));
    for (bytes, message) in [
        (gzip(&twice), "compressed again and again"),
        (
            gzip(b"PK\x03\x04xl/"),
            "input holds an Excel workbook (.xlsx), by its first bytes; save it",
        ),
        (zstd(rows.as_bytes())[..10].to_vec(), "input: cannot decompress: "),
        (gzip(rows.as_bytes())[..10].to_vec(), "input: cannot decompress: "),
    ] {
        let options = ReadOptions::default();
        let error = read(RowFormat::Csv, &bytes, &text_and_label(), &options).unwrap_err();
        assert!(error.contains(message), "{message}: {error}");
    }
}

#[test]
fn what_is_no_text_is_named_whatever_its_encoding_is_said_to_be() {
    let cases: [(&[u8], &str); 5] = [
        (b"PK\x03\x04\x14\0\x06\0\x08\0\0\0!\0\xff\xfe\xb5\x0c\x13", "is a zip archive"),
        (b"BZh91AY&SYBx<\xdc", "is compressed with bzip2, by its first bytes; decompress it first"),
        (b"PAR1\x15\x04\x15", "pandas.read_parquet('FILE')"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "pandas.read_excel('FILE')"),
        (b"\xff\xfe\0\0t\0\0\0", "is text in UTF-32"),
    ];
    for (bytes, message) in cases {
        for encoding in ["utf-8", "latin-1", "utf-16le"] {
            let encoding = TextEncoding::from_name(encoding).unwrap();
            for format in RowFormat::ALL {
                let options = ReadOptions { encoding, ..ReadOptions::default() };
                let source = Box::new(Cursor::new(bytes));
                let columns = text_and_label();
                let opened =
                    ExampleReader::from_reader("a file", source, format, &columns, &options);
                let error = opened.err().expect("an error").to_string();
                assert!(error.contains(message), "{error}");
            }
        }
    }
}

#[test]
fn what_is_no_text_is_named_where_its_ending_tells_no_format() {
    let home = tempfile::tempdir().unwrap();
    let cases: [(&str, &[u8], &str); 4] = [
        (
            "rows.xlsx",
            b"PK\x03\x04\x14\0\x06\0\x08\0\0\0!\0\xff\xfe\xb5\x0c\x13",
            "is a zip archive",
        ),
        ("rows.csv.bz2", b"BZh91AY&SYBx<\xdc", "is compressed with bzip2"),
        ("rows", b"PAR1\x15\x04\x15", "pandas.read_parquet("),
        ("words", b"one\ntwo\n", "the format is not clear from the file's ending"),
    ];
    for (name, bytes, message) in cases {
        let path = home.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let opened =
            ExampleReader::open(&[Input::File(path)], &text_and_label(), &ReadOptions::default());
        let error = opened.err().expect("an error").to_string();
        assert!(error.contains(message), "{error}");
    }
}

/// Gives what is sent to it, and waits where nothing is.
struct Given(Receiver<&'static str>);

impl Read for Given {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let text = self.0.recv().unwrap_or_default();
        buffer[..text.len()].copy_from_slice(text.as_bytes());
        Ok(text.len())
    }
}

#[test]
fn a_reader_of_a_pipe_says_whether_a_whole_row_is_there() {
    // For each format: a beginning, half of a row, its other half with half of the next row and the
    // rest.
    let cases: [(RowFormat, [&str; 4]); 7] = [
        (RowFormat::Lines, ["", "on", "e\ntw", "o"]),
        (RowFormat::Tsv, ["text\tn\n", "on", "e\t1\n\n\ntw", "o\t2"]),
        (RowFormat::Csv, ["text,n\r\n", "\"on", "e\",1\r\n\"tw\n", "o\",2"]),
        (RowFormat::JsonLines, ["", "{\"text\":", "\"one\"}\n\n{\"text\"", ":\"two\"}"]),
        (RowFormat::JsonLines, ["[", "{\"text\":", "\"one,]\"},\n{\"text\"", ":\"two\"}]"]),
        (RowFormat::FastText, ["", "__label__a on", "e\n__label__a tw", "o"]),
        (RowFormat::LabelFiles, ["", "on", "e\rtw", "o"]),
    ];
    for (format, [beginning, half, other, rest]) in cases {
        let (sender, given) = channel();
        let (reader, state) = pipe::read_in_thread(Given(given));
        let name: Arc<str> = "pipe".into();
        if !beginning.is_empty() {
            sender.send(beginning).unwrap();
        }
        sender.send(half).unwrap();
        let input = input::decompressed(&name, Box::new(reader), Some(state)).unwrap();
        let columns = Columns::text("text");
        let options = ReadOptions { format: Some(format), ..ReadOptions::default() };
        let mut reader =
            ExampleReader::from_input(name, input, format, &columns, &options).unwrap();
        let started = Instant::now();
        let wait = |reader: &mut ExampleReader, what: &str| {
            while !reader.next_is_ready() {
                assert!(started.elapsed() < Duration::from_secs(60), "{format:?}: {what}");
                std::thread::yield_now();
            }
        };
        assert!(!reader.next_is_ready(), "{format:?}: half a row");
        sender.send(other).unwrap();
        wait(&mut reader, "a row");
        assert!(reader.next().unwrap().unwrap().text.starts_with("one"), "{format:?}");
        assert!(!reader.next_is_ready(), "{format:?}: half the second row");
        sender.send(rest).unwrap();
        drop(sender);
        wait(&mut reader, "the last row");
        assert!(reader.next().unwrap().unwrap().text.starts_with("tw"), "{format:?}");
        wait(&mut reader, "the end");
        assert!(reader.next().is_none());
    }
}
