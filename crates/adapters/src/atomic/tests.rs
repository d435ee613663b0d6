use super::*;

const OWN: [&str; 2] = ["adapter_config.json", "all_results.json"];

/// The names in a directory, sorted.
fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn staged(path: &Path, overwrite: bool) -> Result<StagedDirectory, AdapterError> {
    StagedDirectory::create(path, overwrite, &OWN)
}

#[test]
fn a_file_is_written_whole_with_the_directories_above_it() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("a/b/file.json");
    write_file(&path, b"one").unwrap();
    write_file(&path, b"two").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"two");
    assert_eq!(names(path.parent().unwrap()), ["file.json"]);
}

#[test]
fn directories_are_created_down_to_the_last_whatever_is_there_already() {
    let home = tempfile::tempdir().unwrap();
    for path in ["one", "one", "one/two/three", "one/two/../four"] {
        create_directories(&home.path().join(path)).unwrap();
        assert!(home.path().join(path).is_dir(), "{path}");
    }
    fs::write(home.path().join("file"), "x").unwrap();
    let error = create_directories(&home.path().join("file/below")).unwrap_err().to_string();
    assert!(error.contains("cannot create the directory") && error.contains("below"), "{error}");
    sync_file(&home.path().join("file")).unwrap();
    sync_file(&home.path().join("absent")).unwrap();
}

#[test]
fn a_write_that_fails_leaves_what_was_there() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("file.json");
    write_file(&path, b"one").unwrap();
    let error = write_file_with(&path, |file| {
        file.write_all(b"half of tw")?;
        Err(io::Error::from(io::ErrorKind::StorageFull))
    })
    .unwrap_err();
    let message = error.to_string();
    assert!(message.contains("file.json") && message.contains("free some space"), "{message}");
    assert_eq!(fs::read(&path).unwrap(), b"one");
    assert_eq!(names(home.path()), ["file.json"]);
}

#[test]
fn a_directory_appears_at_its_commit() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("deep/out");
    let stage = staged(&path, false).unwrap();
    fs::write(stage.path().join("adapter_config.json"), "{}").unwrap();
    fs::create_dir(stage.path().join("inner")).unwrap();
    fs::write(stage.path().join("inner/file"), "x").unwrap();
    assert!(!path.exists());
    stage.commit().unwrap();
    assert_eq!(names(&path), ["adapter_config.json", "inner"]);
    assert_eq!(names(path.parent().unwrap()), ["out"]);
}

#[test]
fn a_directory_that_is_given_up_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let stage = staged(&home.path().join("out"), false).unwrap();
    fs::write(stage.path().join("file"), "x").unwrap();
    drop(stage);
    assert!(names(home.path()).is_empty());
}

#[test]
fn an_occupied_directory_needs_permission_and_only_loses_own_files() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("out");
    fs::create_dir(&path).unwrap();
    // Empty: nothing to lose.
    let stage = staged(&path, false).unwrap();
    fs::write(stage.path().join("adapter_config.json"), "old").unwrap();
    stage.commit().unwrap();

    let refused = staged(&path, false).unwrap_err();
    assert!(matches!(refused, AdapterError::OutputExists { .. }), "{refused}");
    assert!(StagedDirectory::check(&path, false, &OWN).is_err());

    let stage = staged(&path, true).unwrap();
    fs::write(stage.path().join("all_results.json"), "new").unwrap();
    assert_eq!(fs::read(path.join("adapter_config.json")).unwrap(), b"old");
    stage.commit().unwrap();
    assert_eq!(names(&path), ["all_results.json"]);
    assert_eq!(names(home.path()), ["out"]);

    fs::write(path.join("thesis.tex"), "years of work").unwrap();
    let refused = staged(&path, true).unwrap_err().to_string();
    assert!(refused.contains("thesis.tex"), "{refused}");
}

#[test]
fn what_came_meanwhile_is_kept_and_so_are_the_results() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("out");
    let stage = staged(&path, true).unwrap();
    fs::write(stage.path().join("adapter_config.json"), "new").unwrap();
    fs::create_dir(&path).unwrap();
    fs::write(path.join("thesis.tex"), "years of work").unwrap();
    let error = stage.commit().unwrap_err();
    let AdapterError::NotPlaced { kept, .. } = &error else { panic!("{error}") };
    assert_eq!(names(kept), ["adapter_config.json"]);
    assert_eq!(names(&path), ["thesis.tex"]);
    assert!(error.to_string().contains("the results are kept in"), "{error}");
}

#[test]
fn a_file_is_no_output_directory() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("out");
    fs::write(&path, "a file").unwrap();
    for target in [path.clone(), path.join("below")] {
        let error = staged(&target, true).unwrap_err().to_string();
        assert!(error.contains("out"), "{error}");
    }
    assert_eq!(fs::read(&path).unwrap(), b"a file");
}

#[cfg(unix)]
#[test]
fn a_link_stays_a_link() {
    let home = tempfile::tempdir().unwrap();
    let (real, link) = (home.path().join("real"), home.path().join("link"));
    fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let stage = staged(&link, false).unwrap();
    fs::write(stage.path().join("adapter_config.json"), "new").unwrap();
    stage.commit().unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(names(&real), ["adapter_config.json"]);
}

#[test]
fn two_directories_change_places() {
    let home = tempfile::tempdir().unwrap();
    let (new, old) = (home.path().join("new"), home.path().join("old"));
    for (path, text) in [(&new, "new"), (&old, "old")] {
        fs::create_dir(path).unwrap();
        fs::write(path.join("file"), text).unwrap();
    }
    let previous = exchange(&new, &old).unwrap();
    assert_eq!(fs::read(old.join("file")).unwrap(), b"new");
    assert_eq!(fs::read(previous.join("file")).unwrap(), b"old");
}

#[cfg(unix)]
#[test]
fn a_pipe_or_a_directory_is_not_replaced_by_a_file() {
    let home = tempfile::tempdir().unwrap();
    let pipe = home.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let reader = {
        let pipe = pipe.clone();
        std::thread::spawn(move || fs::read(pipe).unwrap())
    };
    write_file(&pipe, b"through").unwrap();
    assert_eq!(reader.join().unwrap(), b"through");
    assert!(!fs::symlink_metadata(&pipe).unwrap().is_file());

    let error = write_file(home.path(), b"over").unwrap_err().to_string();
    assert!(error.contains("directory"), "{error}");
    assert_eq!(names(home.path()), ["pipe"]);
}
