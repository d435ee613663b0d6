//! What the spelling of a label says: a number, a truth value, or that a value is missing.
//!
//! The programs that write tables spell one value in several ways: a column of whole numbers becomes
//! `1.0` in CSV as soon as one of its values is missing, and truth values are `True` in CSV and `true`
//! in JSON. So where all labels are numbers, those that are the same whole number are one label, and
//! where all are truth values, those that are the same one. Every other spelling stands for itself:
//! `1.10` is not `1.1` and `01` is not `1`, since those are versions and codes.

/// How programs write a missing value where they write text: pandas, NumPy, R, SQL, Excel.
const MISSING_VALUES: [&str; 15] = [
    "nan", "NaN", "NAN", "-nan", "-NaN", "None", "NULL", "Null", "null", "N/A", "n/a", "NA",
    "<NA>", "#N/A", "NaT",
];

/// MySQL's and Hive's `\N`, which is no word.
const SQL_NULL: &str = "\\N";

/// Whether the label is spelt as programs write missing values.
pub(crate) fn is_missing_value(label: &str) -> bool {
    label == SQL_NULL || MISSING_VALUES.contains(&label)
}

/// What a label's spelling is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spelling<'a> {
    Truth(bool),
    /// The digits of a whole number, without leading zeros, and whether it is below 0.
    Whole {
        negative: bool,
        digits: &'a str,
    },
    /// A number with a fraction or an exponent.
    Decimal,
    Text,
}

impl Spelling<'_> {
    pub(crate) fn of(label: &str) -> Spelling<'_> {
        match label {
            "true" | "True" | "TRUE" => return Spelling::Truth(true),
            "false" | "False" | "FALSE" => return Spelling::Truth(false),
            _ => {}
        }
        let (negative, number) = match label.strip_prefix('-') {
            Some(number) => (true, number),
            None => (false, label),
        };
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let (mantissa, exponent) = match number.find(['e', 'E']) {
            Some(at) => (&number[..at], Some(&number[at + 1..])),
            None => (number, None),
        };
        let (digits, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let leading_zero = digits.len() > 1 && digits.starts_with('0');
        if digits.len() + fraction.len() == 0
            || leading_zero
            || !is_digits(digits)
            || !is_digits(fraction)
        {
            return Spelling::Text;
        }
        match exponent {
            Some(exponent) => {
                let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
                match !exponent.is_empty() && is_digits(exponent) {
                    true => Spelling::Decimal,
                    false => Spelling::Text,
                }
            }
            None if digits.is_empty() || fraction.bytes().any(|digit| digit != b'0') => {
                Spelling::Decimal
            }
            None => Spelling::Whole { negative: negative && digits != "0", digits },
        }
    }

    fn is_number(self) -> bool {
        matches!(self, Spelling::Whole { .. } | Spelling::Decimal)
    }

    /// The truth value of a 0, 1, false or true.
    pub(crate) fn as_flag(self) -> Option<bool> {
        match self {
            Spelling::Truth(value) => Some(value),
            Spelling::Whole { negative: false, digits: "0" } => Some(false),
            Spelling::Whole { negative: false, digits: "1" } => Some(true),
            _ => None,
        }
    }

    /// One text for all spellings of a whole number or a truth value; of others there is none.
    pub(crate) fn value(self) -> Option<String> {
        match self {
            Spelling::Truth(value) => Some(value.to_string()),
            Spelling::Whole { negative, digits } => {
                Some(format!("{}{digits}", if negative { "-" } else { "" }))
            }
            Spelling::Decimal | Spelling::Text => None,
        }
    }
}

/// Whether all labels are numbers.
pub(crate) fn all_numbers<'a>(labels: impl IntoIterator<Item = &'a str>) -> bool {
    labels.into_iter().all(|label| Spelling::of(label).is_number())
}

/// Whether labels that are the same value count as one: all are numbers, or all are truth values.
pub(crate) fn have_values<'a>(labels: impl IntoIterator<Item = &'a str> + Clone) -> bool {
    all_numbers(labels.clone())
        || labels.into_iter().all(|label| matches!(Spelling::of(label), Spelling::Truth(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_tell_their_values() {
        let value = |text: &str| Some(text.to_string());
        let cases = [
            ("1", value("1")),
            ("1.0", value("1")),
            ("1.", value("1")),
            ("1.000", value("1")),
            ("-1.0", value("-1")),
            ("0", value("0")),
            ("-0", value("0")),
            ("-0.0", value("0")),
            ("12345678901234567890123", value("12345678901234567890123")),
            ("True", value("true")),
            ("TRUE", value("true")),
            ("false", value("false")),
            // Numbers that stand for themselves.
            ("1.10", None),
            ("0.5", None),
            (".5", None),
            ("1e3", None),
            ("1E+16", None),
            // Text.
            ("01", None),
            ("007.0", None),
            ("", None),
            ("-", None),
            (".", None),
            ("1e", None),
            ("+1", None),
            ("1,5", None),
            ("tRue", None),
            ("yes", None),
            ("nan", None),
            ("inf", None),
            ("١", None),
        ];
        for (label, expected) in cases {
            assert_eq!(Spelling::of(label).value(), expected, "{label:?}");
        }
        let numbers = ["1", "1.10", "-0.5", ".5", "1e3", "1E+16", "2."];
        assert!(all_numbers(numbers));
        for text in ["01", "", "-", "1e", "nan", "inf", "0x1"] {
            assert!(!all_numbers([text]), "{text:?}");
        }
        assert!(have_values(["1", "2.5"]) && have_values(["True", "false"]));
        assert!(!have_values(["1", "x"]) && !have_values(["1", "True"]));
    }

    #[test]
    fn zeros_and_ones_are_flags() {
        for (label, expected) in [
            ("0", Some(false)),
            ("1.0", Some(true)),
            ("True", Some(true)),
            ("2", None),
            ("-1", None),
            ("x", None),
        ] {
            assert_eq!(Spelling::of(label).as_flag(), expected, "{label}");
        }
    }

    #[test]
    fn missing_values_are_known_by_their_spelling() {
        for label in ["nan", "NaN", "None", "NULL", "null", "N/A", "<NA>", "NA", "#N/A", "\\N"] {
            assert!(is_missing_value(label), "{label}");
        }
        for label in ["none", "NONE", "na", "Nan", "no", "0", "-", "?", "missing"] {
            assert!(!is_missing_value(label), "{label}");
        }
    }
}
