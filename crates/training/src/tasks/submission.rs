//! The files that GLUE's server takes: one for each test set, `index TAB prediction`, labels as the
//! task's own files spell them (`entailment`, but `1` for CoLA), values between 0 and 5.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{Task, TaskFile};
use crate::TrainingError;
use crate::data::{AnswerKind, AnswerSpace, Answers};

/// A file of the set that the server takes, and the test rows it is made from.
#[derive(Debug, Clone, Copy)]
pub struct SubmissionFile {
    /// The file's name.
    pub name: &'static str,
    /// The task.
    pub task: &'static Task,
    /// The test rows.
    pub test: &'static TaskFile,
    /// How many rows the published test set has, numbered from 0.
    pub rows: usize,
}

impl SubmissionFile {
    /// Writes the file for a task that was not predicted: the first label, or 0, in every row of the
    /// published test set. The server takes complete sets only, and the task's score is then
    /// meaningless.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn write_filler(&self, folder: &Path) -> Result<PathBuf, TrainingError> {
        let indices: Vec<String> = (0..self.rows).map(|row| row.to_string()).collect();
        let predictions = match self.task.kind {
            AnswerKind::Value => Answers::Values(vec![0.0; self.rows]),
            AnswerKind::Class | AnswerKind::LabelSet => Answers::Classes(vec![0; self.rows]),
        };
        let space = self.task.answer_space()?;
        write_submission(self.task, self.test, folder, &indices, &predictions, &space)
    }
}

/// The names of the server's files, and the rows of their test sets.
const SERVER_FILES: [(&str, usize); 11] = [
    ("CoLA.tsv", 1_063),
    ("SST-2.tsv", 1_821),
    ("MRPC.tsv", 1_725),
    ("STS-B.tsv", 1_379),
    ("QQP.tsv", 390_965),
    ("MNLI-m.tsv", 9_796),
    ("MNLI-mm.tsv", 9_847),
    ("AX.tsv", 1_104),
    ("QNLI.tsv", 5_463),
    ("RTE.tsv", 3_000),
    ("WNLI.tsv", 146),
];

/// The whole set: eleven files for nine tasks, MNLI giving three.
pub fn submission_files() -> Vec<SubmissionFile> {
    let of_task = |task: &'static Task| {
        let file = move |test: &'static TaskFile| {
            let (name, rows) =
                SERVER_FILES.into_iter().find(|(name, _)| test.submission == Some(*name))?;
            Some(SubmissionFile { name, task, test, rows })
        };
        task.test.iter().filter_map(file)
    };
    Task::all().iter().flat_map(of_task).collect()
}

/// Writes the predictions for one test set into `folder`, under the name the server wants, and
/// returns the file's path. `indices` are the rows' own, from [`Example::index`]; `space` is the
/// head's. The file is there whole or not at all; an older one is replaced.
///
/// [`Example::index`]: crate::data::Example::index
///
/// # Errors
/// A test set that the server takes no file for, another number of predictions than of indices,
/// predictions of another kind than the task's, a label that is none of the task's, a value that is
/// not finite, a folder that cannot be written.
pub fn write_submission(
    task: &'static Task,
    test: &TaskFile,
    folder: &Path,
    indices: &[String],
    predictions: &Answers,
    space: &AnswerSpace,
) -> Result<PathBuf, TrainingError> {
    let Some(name) = test.submission else {
        return Err(TrainingError::NoSubmission { task: task.name, part: test.file });
    };
    if indices.len() != predictions.len() {
        return Err(TrainingError::LengthsDiffer {
            left: predictions.len(),
            left_name: "predictions",
            right: indices.len(),
            right_name: "row numbers",
        });
    }
    let mut table = String::from("index\tprediction\n");
    for (row, index) in indices.iter().enumerate() {
        let prediction = match (predictions, space.labels()) {
            (Answers::Classes(classes), Some(labels)) => {
                let label = labels.name(classes[row]).ok_or(TrainingError::LabelOutOfRange {
                    row,
                    id: classes[row],
                    labels: labels.len(),
                })?;
                task.raw_label(label)
                    .ok_or_else(|| TrainingError::UnknownLabel {
                        place: crate::error::Place { file: name.into(), line: row as u64 + 2 },
                        label: label.to_string(),
                        known: task.labels.iter().map(|(raw, _)| raw).collect(),
                    })?
                    .to_string()
            }
            (Answers::Values(values), None) if values[row].is_finite() => {
                format!("{:.3}", values[row].clamp(0.0, 5.0))
            }
            (Answers::Values(values), None) => {
                return Err(TrainingError::NotFinite { row, value: values[row] });
            }
            _ => {
                return Err(TrainingError::WrongAnswers {
                    metrics: name,
                    needed: task.kind.name(),
                    given: predictions.kind().name(),
                });
            }
        };
        table.push_str(index);
        table.push('\t');
        table.push_str(&prediction);
        table.push('\n');
    }
    let path = folder.join(name);
    write_whole(&path, table.as_bytes())
        .map_err(|source| TrainingError::Write { path: path.clone(), source })?;
    Ok(path)
}

/// Writes beside `path`, syncs and renames.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let write = || {
        let mut file = File::create(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    write().inspect_err(|_| {
        // The error that counts is the first; what is left behind is removed where it can be.
        let _ = fs::remove_file(&part);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::LabelMap;

    fn indices(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn the_set_is_the_servers() {
        let names: Vec<&str> = submission_files().iter().map(|file| file.name).collect();
        let expected = [
            "CoLA.tsv",
            "SST-2.tsv",
            "MRPC.tsv",
            "STS-B.tsv",
            "QQP.tsv",
            "MNLI-m.tsv",
            "MNLI-mm.tsv",
            "AX.tsv",
            "QNLI.tsv",
            "RTE.tsv",
            "WNLI.tsv",
        ];
        assert_eq!(names, expected);
        assert!(submission_files().iter().all(|file| file.test.index.is_some()));
    }

    #[test]
    fn filler_has_a_row_for_every_row_of_the_test_set() {
        let folder = tempfile::tempdir().unwrap();
        for (name, rows, first) in [
            ("WNLI.tsv", 146, "0\t0"),
            ("AX.tsv", 1_104, "0\tentailment"),
            ("STS-B.tsv", 1_379, "0\t0.000"),
        ] {
            let file = submission_files().into_iter().find(|file| file.name == name).unwrap();
            let path = file.write_filler(folder.path()).unwrap();
            let text = fs::read_to_string(path).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!((lines.len(), lines[0], lines[1]), (rows + 1, "index\tprediction", first));
            assert!(lines[rows].starts_with(&format!("{}\t", rows - 1)), "{name}");
        }
    }

    #[test]
    fn files_hold_what_the_server_reads() {
        let folder = tempfile::tempdir().unwrap();
        let labels =
            |names: &[&str]| AnswerSpace::Classes(LabelMap::new(names.iter().copied()).unwrap());
        let cases: [(&str, usize, AnswerSpace, Answers, &str, &str); 6] = [
            (
                "cola",
                0,
                labels(&["unacceptable", "acceptable"]),
                Answers::Classes(vec![1, 0]),
                "CoLA.tsv",
                "7\t1\n9\t0\n",
            ),
            (
                "cola",
                0,
                labels(&["1", "0"]),
                Answers::Classes(vec![1, 0]),
                "CoLA.tsv",
                "7\t0\n9\t1\n",
            ),
            (
                "rte",
                0,
                labels(&["entailment", "not_entailment"]),
                Answers::Classes(vec![0, 1]),
                "RTE.tsv",
                "7\tentailment\n9\tnot_entailment\n",
            ),
            (
                "mnli",
                2,
                labels(&["entailment", "neutral", "contradiction"]),
                Answers::Classes(vec![2, 1]),
                "AX.tsv",
                "7\tcontradiction\n9\tneutral\n",
            ),
            (
                "wnli",
                0,
                labels(&["not_entailment", "entailment"]),
                Answers::Classes(vec![1, 1]),
                "WNLI.tsv",
                "7\t1\n9\t1\n",
            ),
            (
                "stsb",
                0,
                AnswerSpace::Values,
                Answers::Values(vec![5.4, 2.345_67]),
                "STS-B.tsv",
                "7\t5.000\n9\t2.346\n",
            ),
        ];
        for (name, test, space, predictions, file, rows) in cases {
            let task = Task::by_name(name).unwrap();
            let path = write_submission(
                task,
                &task.test[test],
                folder.path(),
                &indices(&["7", "9"]),
                &predictions,
                &space,
            )
            .unwrap();
            assert_eq!(path, folder.path().join(file));
            assert_eq!(fs::read_to_string(path).unwrap(), format!("index\tprediction\n{rows}"));
        }
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 5, "nothing but the files themselves is left");
    }

    #[test]
    fn what_does_not_fit_is_refused_and_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let words = AnswerSpace::Classes(LabelMap::new(["yes", "no"]).unwrap());
        type Case<'a> = (&'a str, &'a Path, &'a [&'a str], Answers, &'a AnswerSpace, &'a str);
        let cases: [Case<'_>; 7] = [
            (
                "cb",
                folder.path(),
                &["0"],
                Answers::Classes(vec![0]),
                &words,
                "no file that the GLUE server",
            ),
            (
                "rte",
                folder.path(),
                &["0", "1"],
                Answers::Classes(vec![0]),
                &words,
                "1 predictions for 2",
            ),
            (
                "rte",
                folder.path(),
                &["0"],
                Answers::Classes(vec![0]),
                &words,
                "unknown label \"yes\"",
            ),
            ("rte", folder.path(), &["0"], Answers::Classes(vec![2]), &words, "number 2 of 2"),
            (
                "rte",
                folder.path(),
                &["0"],
                Answers::Values(vec![0.5]),
                &words,
                "needs one label a row",
            ),
            (
                "stsb",
                folder.path(),
                &["0"],
                Answers::Values(vec![f32::NAN]),
                &AnswerSpace::Values,
                "not finite",
            ),
            (
                "stsb",
                &missing,
                &["0"],
                Answers::Values(vec![0.5]),
                &AnswerSpace::Values,
                "cannot write",
            ),
        ];
        for (name, into, rows, predictions, space, message) in cases {
            let task = Task::by_name(name).unwrap();
            let error =
                write_submission(task, &task.test[0], into, &indices(rows), &predictions, space)
                    .unwrap_err()
                    .to_string();
            assert!(error.contains(message), "{name}: {error}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
