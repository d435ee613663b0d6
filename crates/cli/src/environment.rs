//! Every environment variable that the command reads, in one place.
//!
//! Libraries read none. A command reads them once, here, and passes on what it found; the table
//! [`VARIABLES`] is what `adaptkit --help` prints and the only source of the names.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// A variable's name and what it does.
pub(crate) struct Variable {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
}

const CACHE: Variable = Variable {
    name: "ADAPTKIT_CACHE",
    help: "where pulled models are kept (default: adaptkit in the user's cache directory)",
};
const XDG_CACHE_HOME: Variable =
    Variable { name: "XDG_CACHE_HOME", help: "the user's cache directory (default: ~/.cache)" };
const HOME: Variable = Variable { name: "HOME", help: "the user's home directory" };
const USER_PROFILE: Variable =
    Variable { name: "USERPROFILE", help: "the user's home directory on Windows" };
const HF_ENDPOINT: Variable = Variable {
    name: "HF_ENDPOINT",
    help: "the Hugging Face Hub or a mirror of it (default: https://huggingface.co)",
};
const HF_TOKEN: Variable =
    Variable { name: "HF_TOKEN", help: "an access token for private and gated models" };
const HF_HUB_OFFLINE: Variable =
    Variable { name: "HF_HUB_OFFLINE", help: "1, on, yes or true: do not ask the Hub" };
const PROXY: Variable = Variable {
    name: "ALL_PROXY, HTTPS_PROXY, HTTP_PROXY, NO_PROXY",
    help: "the proxy through which the Hub is reached",
};

const PIP: Variable = Variable {
    name: "PIP_CONFIG_FILE, PIP_INDEX_URL and pip's other settings",
    help: "how pip finds wheels where the Hub is out of reach (pip.conf counts too)",
};

/// Settings of pip, and of the programs it is made of, that hold paths. pip runs in another directory
/// than the command, where a relative one would lead nowhere.
const PIP_PATHS: [&str; 9] = [
    "PIP_CONFIG_FILE",
    "PIP_FIND_LINKS",
    "PIP_CERT",
    "PIP_CLIENT_CERT",
    "PIP_CACHE_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// What `adaptkit --help` says about the environment.
pub(crate) const VARIABLES: [Variable; 9] =
    [CACHE, XDG_CACHE_HOME, HOME, USER_PROFILE, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE, PROXY, PIP];

/// What the environment says. A variable that is set to nothing counts as unset.
#[derive(Clone, Debug)]
pub(crate) struct Environment {
    /// `ADAPTKIT_CACHE`.
    pub(crate) cache: Option<PathBuf>,
    /// `XDG_CACHE_HOME`.
    pub(crate) xdg_cache_home: Option<PathBuf>,
    /// `HOME`, or `USERPROFILE`.
    pub(crate) home: Option<PathBuf>,
    /// `HF_ENDPOINT`.
    pub(crate) hub_endpoint: Option<String>,
    /// `HF_TOKEN`.
    pub(crate) hub_token: Option<String>,
    /// `HF_HUB_OFFLINE`.
    pub(crate) hub_offline: bool,
    /// `ALL_PROXY` and its like, in the order in which the HTTP client looks.
    pub(crate) proxy: Option<ureq::Proxy>,
    /// pip's settings that are relative paths, made absolute.
    pub(crate) pip_settings: Vec<(OsString, OsString)>,
}

impl Environment {
    /// Reads the process's environment.
    pub(crate) fn read() -> Environment {
        Environment {
            proxy: ureq::Proxy::try_from_env(),
            pip_settings: pip_settings(|name| std::env::var_os(name)),
            ..Environment::from_lookup(|name| std::env::var_os(name))
        }
    }

    /// Reads the variables through `lookup`; the proxy stays unset.
    pub(crate) fn from_lookup(lookup: impl Fn(&str) -> Option<OsString>) -> Environment {
        let value = |variable: Variable| lookup(variable.name).filter(|value| !value.is_empty());
        let text = |variable| value(variable).map(|value| value.to_string_lossy().into_owned());
        let truth = |text: String| {
            ["1", "on", "yes", "true"].iter().any(|yes| text.eq_ignore_ascii_case(yes))
        };
        Environment {
            cache: value(CACHE).map(PathBuf::from),
            xdg_cache_home: value(XDG_CACHE_HOME).map(PathBuf::from),
            home: value(HOME).or_else(|| value(USER_PROFILE)).map(PathBuf::from),
            hub_endpoint: text(HF_ENDPOINT),
            hub_token: text(HF_TOKEN).map(|token| token.trim().to_string()),
            hub_offline: text(HF_HUB_OFFLINE).is_some_and(truth),
            proxy: None,
            pip_settings: Vec::new(),
        }
    }
}

/// The settings in [`PIP_PATHS`] that lead to a file or a directory from the current directory, made
/// absolute. `PIP_FIND_LINKS` may hold several, between spaces.
fn pip_settings(lookup: impl Fn(&str) -> Option<OsString>) -> Vec<(OsString, OsString)> {
    let absolute = |path: &str| {
        let path = Path::new(path);
        let found = path.is_relative() && path.exists();
        found.then(|| std::path::absolute(path).ok()).flatten()
    };
    let settings = PIP_PATHS.into_iter().filter_map(|name| {
        let value = lookup(name)?.into_string().ok()?;
        let paths: Vec<&str> = match name {
            "PIP_FIND_LINKS" => value.split_whitespace().collect(),
            _ => vec![&value],
        };
        let changed: Vec<Option<PathBuf>> = paths.iter().map(|path| absolute(path)).collect();
        if changed.iter().all(Option::is_none) {
            return None;
        }
        let values = changed.into_iter().zip(paths).map(|(absolute, path)| match absolute {
            Some(absolute) => absolute.into_os_string(),
            None => path.into(),
        });
        Some((name.into(), values.collect::<Vec<_>>().join(OsStr::new(" "))))
    });
    settings.collect()
}

/// The section of the help text that lists the variables.
pub(crate) fn help() -> String {
    let mut text = String::from("Environment:");
    for Variable { name, help } in VARIABLES {
        text += &format!("\n  {name}\n          {help}");
    }
    // Without this the help ends in the middle of a line.
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment::from_lookup(|name| {
            let found = variables.iter().find(|(given, _)| *given == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn offline_is_what_the_hub_s_own_client_takes_for_true() {
        let cases =
            [("1", true), ("ON", true), ("yes", true), ("True", true), ("0", false), ("", false)];
        for (value, expected) in cases {
            assert_eq!(environment(&[("HF_HUB_OFFLINE", value)]).hub_offline, expected, "{value}");
        }
    }

    #[test]
    fn an_empty_variable_is_unset_and_a_token_loses_its_newline() {
        let found = environment(&[("ADAPTKIT_CACHE", ""), ("HF_TOKEN", "secret\n")]);
        assert_eq!(found.cache, None);
        assert_eq!(found.hub_token.as_deref(), Some("secret"));
    }

    #[test]
    fn pip_s_relative_paths_are_made_absolute_and_nothing_else_is_changed() {
        // Tests run in the crate's directory.
        let here = std::env::current_dir().unwrap();
        let found = pip_settings(|name| {
            let value = match name {
                "PIP_CONFIG_FILE" => "Cargo.toml",
                "PIP_FIND_LINKS" => "https://host/wheels src tests",
                "PIP_CERT" => "/etc/hosts",
                "PIP_CACHE_DIR" => "no-such-directory",
                _ => return None,
            };
            Some(value.into())
        });
        let path = |name: &str| here.join(name).to_str().unwrap().to_string();
        let links = format!("https://host/wheels {} {}", path("src"), path("tests"));
        let expected = [("PIP_CONFIG_FILE", path("Cargo.toml")), ("PIP_FIND_LINKS", links)];
        assert_eq!(found, expected.map(|(name, value)| (name.into(), value.into())));
    }

    #[test]
    fn only_documented_variables_are_looked_up() {
        let documented = help();
        Environment::from_lookup(|name| {
            assert!(documented.contains(&format!("\n  {name}\n")), "{name} is not in the help");
            None
        });
    }
}
