//! What a file is, by its first bytes.
//!
//! A workbook that was renamed to `.csv`, or a table in a compression that we do not read, is no text
//! in any encoding. Read as UTF-8 it is an error at some byte; read as latin-1, which knows every
//! byte, it is a table of nonsense. Its first bytes say what it is, whatever its name says, and the
//! message can then say how to get text out of it.

use super::input::shell_name;

/// What the first bytes of a file say it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// Text, for all that the first bytes tell.
    Text,
    /// Gzip, which is read.
    Gzip,
    /// Zstandard, which is read.
    Zstd,
    /// A file of a kind that has to be converted first.
    Other(OtherKind),
}

/// Kinds of files that hold no text that could be read as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OtherKind {
    /// `.bz2`
    Bzip2,
    /// `.xz`
    Xz,
    /// `.lzma`
    Lzma,
    /// `.lz4`
    Lz4,
    /// `.Z`
    Compress,
    /// `.sz`
    Snappy,
    /// `.zip`
    Zip,
    /// `.xlsx`
    ExcelWorkbook,
    /// `.xls`, `.doc` and others in Microsoft's older container
    OldOffice,
    /// `.docx`
    WordDocument,
    /// `.ods`, `.odt`
    OpenDocument,
    /// `.7z`
    SevenZip,
    /// `.rar`
    Rar,
    /// `.tar`
    Tar,
    /// `.parquet`
    Parquet,
    /// `.arrow`, or Feather's second version
    ArrowFile,
    /// The stream form of Arrow, in which the `datasets` library keeps tables
    ArrowStream,
    /// Feather's first version
    Feather,
    /// `.orc`
    Orc,
    /// `.avro`
    Avro,
    /// `.pdf`
    Pdf,
    /// `.pkl`
    Pickle,
    /// `.npy`
    NumpyArray,
    /// `.h5`
    Hdf5,
    /// `.sqlite`, `.db`
    Sqlite,
    /// `.rtf`
    RichText,
    /// `.png`, `.jpg`, `.gif`
    Picture,
    /// Text in UTF-32
    Utf32,
    /// What Git LFS leaves in place of a file that it has not fetched
    LfsPointer,
}

use OtherKind::*;

/// Signatures at the beginning of a file, the longer of two that agree first.
const SIGNATURES: [(&[u8], FileKind); 39] = [
    (b"\x1f\x8b", FileKind::Gzip),
    (b"\x28\xb5\x2f\xfd", FileKind::Zstd),
    (b"BZh11AY&SY", FileKind::Other(Bzip2)),
    (b"BZh21AY&SY", FileKind::Other(Bzip2)),
    (b"BZh31AY&SY", FileKind::Other(Bzip2)),
    (b"BZh41AY&SY", FileKind::Other(Bzip2)),
    (b"BZh51AY&SY", FileKind::Other(Bzip2)),
    (b"BZh61AY&SY", FileKind::Other(Bzip2)),
    (b"BZh71AY&SY", FileKind::Other(Bzip2)),
    (b"BZh81AY&SY", FileKind::Other(Bzip2)),
    (b"BZh91AY&SY", FileKind::Other(Bzip2)),
    (b"BZh9\x17rE8P\x90", FileKind::Other(Bzip2)),
    (b"\xfd7zXZ\0", FileKind::Other(Xz)),
    (b"\x5d\0\0", FileKind::Other(Lzma)),
    (b"\x04\x22\x4d\x18", FileKind::Other(Lz4)),
    (b"\x1f\x9d", FileKind::Other(Compress)),
    (b"\xff\x06\0\0sNaPpY", FileKind::Other(Snappy)),
    (b"PK\x03\x04", FileKind::Other(Zip)),
    (b"PK\x05\x06", FileKind::Other(Zip)),
    (b"PK\x07\x08", FileKind::Other(Zip)),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", FileKind::Other(OldOffice)),
    (b"7z\xbc\xaf\x27\x1c", FileKind::Other(SevenZip)),
    (b"Rar!\x1a\x07", FileKind::Other(Rar)),
    (b"ARROW1\0", FileKind::Other(ArrowFile)),
    (b"\xff\xff\xff\xff", FileKind::Other(ArrowStream)),
    (b"FEA1\0", FileKind::Other(Feather)),
    (b"Obj\x01", FileKind::Other(Avro)),
    (b"%PDF-", FileKind::Other(Pdf)),
    (b"\x93NUMPY", FileKind::Other(NumpyArray)),
    (b"\x89HDF\r\n\x1a\n", FileKind::Other(Hdf5)),
    (b"SQLite format 3\0", FileKind::Other(Sqlite)),
    (b"{\\rtf", FileKind::Other(RichText)),
    (b"\x89PNG\r\n\x1a\n", FileKind::Other(Picture)),
    (b"\xff\xd8\xff", FileKind::Other(Picture)),
    (b"GIF89a", FileKind::Other(Picture)),
    (b"\xff\xfe\0\0", FileKind::Other(Utf32)),
    (b"\0\0\xfe\xff", FileKind::Other(Utf32)),
    (b"version https://git-lfs.github.com/spec/", FileKind::Other(LfsPointer)),
    (b"\x80\x04\x95", FileKind::Other(Pickle)),
];

/// Words that a text may begin with too: they are signatures where a control character follows.
const BEFORE_CONTROL: [(&[u8], OtherKind); 3] =
    [(b"PAR1", Parquet), (b"PARE", Parquet), (b"ORC", Orc)];

/// Where a tar archive says what it is.
const TAR: (usize, &[u8]) = (257, b"ustar");

impl FileKind {
    /// The kind of a file that begins so, or `None` where it takes more bytes to tell.
    pub(crate) fn of(start: &[u8]) -> Option<FileKind> {
        for (signature, kind) in SIGNATURES {
            if start.starts_with(signature) {
                return Some(match kind {
                    FileKind::Other(Zip) => FileKind::Other(zip_kind(start)),
                    kind => kind,
                });
            }
        }
        for (word, kind) in BEFORE_CONTROL {
            if let Some(&[next, ..]) = start.strip_prefix(word)
                && next < b' '
                && !matches!(next, b'\t' | b'\n' | b'\r')
            {
                return Some(FileKind::Other(kind));
            }
        }
        if is_pickle(start) {
            return Some(FileKind::Other(Pickle));
        }
        if start.get(TAR.0..).is_some_and(|rest| rest.starts_with(TAR.1)) {
            return Some(FileKind::Other(Tar));
        }
        let more = |signature: &[u8]| signature.len() > start.len() && signature.starts_with(start);
        let undecided = SIGNATURES.iter().any(|(signature, _)| more(signature))
            || BEFORE_CONTROL.iter().any(|(word, _)| more(word) || *word == start)
            || (start.len() < 3 && start.first() == Some(&0x80));
        (!undecided).then_some(FileKind::Text)
    }
}

/// Protocols 2, 3 and 5 of Python's pickle; the fourth is a signature of its own. After the protocol
/// comes the first instruction.
fn is_pickle(start: &[u8]) -> bool {
    matches!(
        start,
        [0x80, 2 | 3, b'c' | b']' | b'}' | b'(' | b'X' | b')', ..] | [0x80, 5, 0x95, ..]
    )
}

/// A zip archive's first file tells the documents that are archives.
fn zip_kind(start: &[u8]) -> OtherKind {
    let holds = |name: &str| start.windows(name.len()).any(|window| window == name.as_bytes());
    if holds("xl/") || holds("[Content_Types].xml") && !holds("word/") {
        ExcelWorkbook
    } else if holds("word/") {
        WordDocument
    } else if holds("mimetypeapplication/vnd.oasis.opendocument") {
        OpenDocument
    } else {
        Zip
    }
}

impl OtherKind {
    /// What the file is, for a message.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Bzip2 => "compressed with bzip2",
            Xz => "compressed with xz",
            Lzma => "compressed with lzma",
            Lz4 => "compressed with lz4",
            Compress => "compressed with compress (.Z)",
            Snappy => "compressed with snappy",
            Zip => "a zip archive, which a workbook (.xlsx) is too",
            ExcelWorkbook => "an Excel workbook (.xlsx)",
            OldOffice => "an old Excel workbook or Word document (.xls, .doc)",
            WordDocument => "a Word document (.docx)",
            OpenDocument => "an OpenDocument file (.ods, .odt)",
            SevenZip => "a 7z archive",
            Rar => "a rar archive",
            Tar => "a tar archive",
            Parquet => "a Parquet file",
            ArrowFile => "an Arrow (or Feather) file",
            ArrowStream => "an Arrow stream, as the datasets library keeps it",
            Feather => "a Feather file",
            Orc => "an ORC file",
            Avro => "an Avro file",
            Pdf => "a PDF document",
            Pickle => "a Python pickle",
            NumpyArray => "a NumPy array (.npy)",
            Hdf5 => "an HDF5 file",
            Sqlite => "an SQLite database",
            RichText => "a rich text document (.rtf)",
            Picture => "a picture",
            Utf32 => "text in UTF-32",
            LfsPointer => "a pointer of Git LFS, not the file itself",
        }
    }

    /// How to get rows out of the file of this name.
    pub(crate) fn way_out(self, file: &str) -> String {
        let file = &shell_name(file);
        let pipe = |program: &str| {
            format!("decompress it first, for example with `{program} -dc {file} > rows.csv`")
        };
        let pandas = |read: &str| {
            format!(
                "write it as CSV, for example with `python -c \"import pandas; \
                 pandas.{read}('{file}').to_csv('rows.csv', index=False)\"`"
            )
        };
        match self {
            Bzip2 => pipe("bzip2"),
            Xz => pipe("xz"),
            Lzma => pipe("xz --format=lzma"),
            Lz4 => pipe("lz4"),
            Compress => pipe("gzip"),
            Snappy => "decompress it first".to_owned(),
            Zip => format!(
                "unpack it first, for example with `unzip {file}`; a workbook: {}",
                ExcelWorkbook.way_out(file)
            ),
            SevenZip => format!("unpack it first, for example with `7z x {file}`"),
            Rar => format!("unpack it first, for example with `unrar x {file}`"),
            Tar => format!("unpack it first, for example with `tar -xf {file}`"),
            ExcelWorkbook | OldOffice => {
                format!("save it as \"CSV UTF-8\" in the spreadsheet, or {}", pandas("read_excel"))
            }
            OpenDocument => {
                format!("save it as CSV or text in its program, or {}", pandas("read_excel"))
            }
            WordDocument | RichText => "save it as plain text in its program".to_owned(),
            Parquet => pandas("read_parquet"),
            ArrowFile | Feather => pandas("read_feather"),
            ArrowStream => format!(
                "write it as CSV, for example with `python -c \"import datasets; \
                 datasets.Dataset.from_file('{file}').to_csv('rows.csv')\"`"
            ),
            Orc => pandas("read_orc"),
            Avro => "write it as CSV or JSON lines first, for example with avro-tools".to_owned(),
            Pdf => format!("get its text out first, for example with `pdftotext {file}`"),
            Pickle => format!(
                "write it as CSV where it was made (`table.to_csv('rows.csv', index=False)`), or, \
                 if you trust whoever made it, {}",
                pandas("read_pickle")
            ),
            NumpyArray => format!(
                "write it as text, for example with `python -c \"import numpy; \
                 numpy.savetxt('rows.txt', numpy.load('{file}'), fmt='%s')\"`"
            ),
            Hdf5 => pandas("read_hdf"),
            Sqlite => format!(
                "write a table of it as CSV, for example with `sqlite3 -header -csv {file} \
                 'select * from TABLE' > rows.csv`"
            ),
            Picture => "give a file of text".to_owned(),
            Utf32 => format!(
                "write it in UTF-8, for example with `iconv -f UTF-32 -t UTF-8 {file} > rows.csv`"
            ),
            LfsPointer => "fetch the file with `git lfs pull`, or download it again".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_the_kind() {
        let mut tar = vec![b'a'; 257];
        tar.extend(b"ustar\0");
        let other = |kind| Some(FileKind::Other(kind));
        let text = Some(FileKind::Text);
        let cases: [(&[u8], Option<FileKind>); 47] = [
            (b"", None),
            (b"text,label\n", text),
            (b"\x1f\x8b\x08", Some(FileKind::Gzip)),
            (b"\x28\xb5\x2f\xfd\x04", Some(FileKind::Zstd)),
            (b"BZh91AY&SY", other(Bzip2)),
            (b"BZh9", None),
            (b"BZh9,label", text),
            (b"\xfd7zXZ\0\0", other(Xz)),
            (b"PK\x03\x04\x14\0\x06\0\x08\0\0\0!\0\0\0[Content_Types].xml", other(ExcelWorkbook)),
            (b"PK\x03\x04\x14\0word/document.xml", other(WordDocument)),
            (b"PK\x03\x04[Content_Types].xml....word/document.xml", other(WordDocument)),
            (b"PK\x03\x04mimetypeapplication/vnd.oasis.opendocument.text", other(OpenDocument)),
            (b"PK\x03\x04rows.csv", other(Zip)),
            (b"PK\x05\x06", other(Zip)),
            (b"PK", None),
            (b"PKK,label", text),
            (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", other(OldOffice)),
            (b"PAR1\x15\x04", other(Parquet)),
            (b"PAR1", None),
            (b"PAR1,label", text),
            (b"PAR1\tlabel", text),
            (b"PAR1\nPAR2", text),
            (b"ORC\x08", other(Orc)),
            (b"ORCS and elves", text),
            (b"ARROW1\0\0", other(ArrowFile)),
            (b"ARROW12", text),
            (b"\xff\xff\xff\xff\x10\x02", other(ArrowStream)),
            (b"FEA1\0\0\0\0", other(Feather)),
            (b"7z\xbc\xaf\x27\x1c", other(SevenZip)),
            (b"%PDF-1.7", other(Pdf)),
            (b"\x80\x04\x95\x10", other(Pickle)),
            (b"\x80\x05\x95\x10", other(Pickle)),
            (b"\x80\x03cpandas", other(Pickle)),
            (b"\x80\x02}q", other(Pickle)),
            (b"\x80\x80", None),
            (b"\x80 12,label", text),
            (b"SQLite format 3\0", other(Sqlite)),
            (b"SQLite format 3 is", text),
            (b"\x93NUMPY\x01", other(NumpyArray)),
            (b"\x89HDF\r\n\x1a\n", other(Hdf5)),
            (b"{\\rtf1", other(RichText)),
            (b"{\"text\": 1}", text),
            (b"\xff\xfet\0e\0", text),
            (b"\xff\xfe\0\0t\0\0\0", other(Utf32)),
            (b"\xef\xbb\xbftext", text),
            (b"version https://git-lfs.github.com/spec/v1\n", other(LfsPointer)),
            (&tar, other(Tar)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(FileKind::of(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}
