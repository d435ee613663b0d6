//! The textual form, the rules of nesting, and the ways through a composition.

use adaptkit_adapters::composition::{Block, Composition};
use adaptkit_testkit::Random;

fn error(text: &str) -> String {
    match text.parse::<Composition>() {
        Ok(composition) => panic!("{text} is {composition}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn text_is_read_and_written() {
    // As it is given, and as it is written.
    let cases = [
        ("a", "a"),
        ("stack", "stack"),
        (" stack ( a , b ) ", "stack(a, b)"),
        ("Stack(a,Fuse(b,c))", "stack(a, fuse(b, c))"),
        ("fuse(stack(a, b), c)", "fuse(stack(a, b), c)"),
        ("parallel(a, batch_split(b, c, batch_sizes=1))", ""),
        ("split(a, b, splits=[64, 1])", "split(a, b, splits=[64, 1])"),
        ("split(a, b, splits=64)", "split(a, b, splits=[64, 64])"),
        ("BatchSplit(a, b, batch_sizes = [2 ,3])", "batch_split(a, b, batch_sizes=[2, 3])"),
        ("average(a, b)", "average(a, b)"),
        ("average(a, b, weights=[2, 2])", "average(a, b)"),
        ("average(a, b, weights=[1, 3])", "average(a, b, weights=[0.25, 0.75])"),
        ("average(a, b, weights=[-1, 2])", "average(a, b, weights=[-1.0, 2.0])"),
        ("average(a, b, weights=[1e-3, 9.99e-1])", "average(a, b, weights=[0.001, 0.999])"),
        (r#""a""#, "a"),
        (r#"stack("my adapter", "a(b)", ä)"#, r#"stack("my adapter", "a(b)", ä)"#),
        (r#""with = and \"quotes\"""#, r#""with = and \"quotes\"""#),
    ];
    for (text, written) in cases {
        let composition: Composition = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
        let again = composition.to_string();
        if !written.is_empty() {
            assert_eq!(again, written);
        }
        assert_eq!(again.parse(), Ok(composition), "{again}");
    }
}

#[test]
fn what_is_wrong_in_a_text_is_named_with_its_place() {
    let deep = "stack(".repeat(10_000);
    let long = "a".repeat(70_000);
    let cases = [
        ("", "at character 1 of the composition there is nothing, expected the name"),
        (
            "stack(a, b",
            "at character 11 of the composition there is nothing, expected a comma or )",
        ),
        ("stack(a b)", "at character 9 of the composition there is \"b\", expected a comma or )"),
        ("stack(a,, b)", "at character 9 of the composition there is \",\", expected the name"),
        ("stack(a,)", "at character 9 of the composition there is \")\", expected the name"),
        ("stack(a))", "at character 9 of the composition there is \")\", expected its end"),
        ("ä b", "at character 3 of the composition there is \"b\", expected its end"),
        ("pile(a, b)", "at character 1 of the composition there is \"pile\", expected stack, fuse"),
        ("stack(a, pile (b))", "at character 10 of the composition there is \"pile\""),
        ("multi_task(a, b)", "expected stack, fuse"),
        ("stack(\"a)", "at character 7 of the composition there is a quote, expected another"),
        (r#""a\b""#, "at character 3 of the composition there is \"\\\", expected"),
        ("stack(a, splits=[1])", "there is \"splits=\", expected no argument"),
        ("split(a, b, weights=[1, 2])", "there is \"weights=\", expected splits="),
        ("split(a, splits=[1], b)", "there is \",\", expected ) behind the argument"),
        ("split(a, b, splits=[1, x])", "at character 24 of the composition there is \"x\""),
        ("split(a, b, splits=[1 2])", "there is \"2\", expected a comma or ]"),
        ("split(a, b, splits=[1, 2.5])", "splits must be whole numbers above 0"),
        ("split(a, b, splits=[1, -2])", "splits must be whole numbers above 0"),
        ("split(a, b, splits=[1, 0])", "splits must be whole numbers above 0"),
        ("split(a, b)", "splits must be given"),
        ("split(a, b, splits=[18446744073709551615, 1])", "sum a computer can hold"),
        ("split(a, b, splits=[1])", "splits has 1 numbers for 2 members"),
        ("batch_split(a, b)", "batch_sizes must be given"),
        ("average(a, b, weights=[1])", "weights has 1 numbers for 2 members"),
        ("average(a, b, weights=[1, -1])", "weights must be finite numbers whose sum is not 0"),
        ("average(a, b, weights=[0, 0])", "weights must be finite numbers whose sum is not 0"),
        ("average(a, b, weights=[1, inf])", "there is \"inf\", expected a number"),
        ("average(a, b, weights=[1, nan])", "there is \"nan\", expected a number"),
        ("average(a, b, weights=[1e308, 1e308, 1])", "weights has 3 numbers"),
        ("average(a, b, weights=[1.7e308, 1e308])", "finite numbers whose sum is not 0"),
        ("average()", "average holds nothing"),
        ("stack()", "stack holds nothing"),
        ("stack(a, fuse())", "fuse holds nothing"),
        ("a.b", "\"a.b\" cannot be the name of an adapter"),
        ("stack(\"\", b)", "\"\" cannot be the name of an adapter: it is empty"),
        ("\"a\u{1b}b\"", "control characters"),
        ("fuse(a, b, a)", "fuse has \"a\" twice"),
        ("fuse(stack(a, b), b)", "fuse has \"b\" twice"),
        (&deep, "stack is too deep"),
        (&long, "70000 bytes, more than the 65536"),
    ];
    for (text, expected) in cases {
        let error = error(text);
        assert!(error.contains(expected), "{text:.100}: {error}");
    }
}

/// Every block with a child of its own, in a form that takes any children.
fn holding(block: Block, child: &str, other: &str) -> String {
    match block {
        Block::Adapter => "x".to_owned(),
        Block::Split => format!("split({child}, {other}, splits=[2, 3])"),
        Block::BatchSplit => format!("batch_split({child}, {other}, batch_sizes=[2, 3])"),
        block => format!("{}({child}, {other})", block.name()),
    }
}

/// The library's table, `ALLOWED_NESTINGS`.
#[test]
fn blocks_hold_what_they_hold_in_the_library() {
    let allowed = [
        ("stack", "adapter fuse split parallel batch_split average"),
        ("fuse", "adapter stack"),
        ("split", "adapter split stack batch_split average"),
        ("parallel", "adapter stack batch_split average"),
        ("batch_split", "adapter stack split batch_split average"),
        ("average", "adapter stack split batch_split"),
    ];
    for (outer, (name, allowed)) in Block::BLOCKS.into_iter().zip(allowed) {
        assert_eq!(outer.name(), name);
        for inner in [Block::Adapter].into_iter().chain(Block::BLOCKS) {
            let child = match (outer, inner) {
                // Parts of a part make up the whole of it.
                (Block::Split, Block::Split) => "split(x, y, splits=[1, 1])".to_owned(),
                (Block::BatchSplit, Block::BatchSplit) => {
                    "batch_split(x, y, batch_sizes=[1, 1])".to_owned()
                }
                _ => holding(inner, "x", "y"),
            };
            let text = holding(outer, &child, "z");
            let parsed = text.parse::<Composition>();
            match allowed.split(' ').any(|name| name == inner.name()) {
                true => assert!(parsed.is_ok(), "{text}: {parsed:?}"),
                false => {
                    let expected = format!("{} cannot be in {}, which", inner.name(), name);
                    assert!(error(&text).starts_with(&expected), "{text}: {}", error(&text));
                }
            }
        }
    }
}

#[test]
fn blocks_that_do_not_go_together_are_refused() {
    let cases = [
        ("parallel(stack(a, fuse(b, c)), d)", "fuse is too deep"),
        ("average(split(average(a, b), c, splits=[1, 2]), d)", "average is too deep"),
        (
            "split(split(a, b, splits=[1, 2]), c, splits=[4, 5])",
            "splits have the sum 3, and what they divide has 4",
        ),
        (
            "batch_split(batch_split(a, b, batch_sizes=2), c, batch_sizes=[5, 5])",
            "batch_sizes have the sum 4",
        ),
        (
            "average(batch_split(a, b, batch_sizes=2), batch_split(a, b, batch_sizes=3))",
            "batch_sizes have the sum 6, and what they divide has 4",
        ),
        ("stack(parallel(a, b), parallel(a, b, c))", "several parallel blocks if"),
        ("stack(parallel(a, b), batch_split(a, b, batch_sizes=2))", "no batch_split beside them"),
    ];
    for (text, expected) in cases {
        assert!(error(text).contains(expected), "{text}: {}", error(text));
    }
    let deep: Composition =
        "stack(a, fuse(stack(b, c), d))".parse().expect("stacks may be in a block in a block");
    assert_eq!(deep.fusions(), [["c", "d"]]);
    assert_eq!(deep.names(), ["a", "b", "c", "d"]);
}

#[test]
fn rows_and_answers_have_their_ways() {
    // The ways' names with their heads, and for each row the numbers of its ways.
    type Ways<'a> = &'a [(&'a str, Option<&'a str>)];
    let cases: [(&str, Ways<'_>, &[&[usize]]); 10] = [
        ("a", &[("a", Some("a"))], &[&[0], &[0]]),
        ("stack(a, b)", &[("stack(a, b)", Some("b"))], &[&[0]]),
        ("stack(a, fuse(b, c))", &[("stack(a, fuse(b, c))", None)], &[&[0]]),
        ("average(a, b)", &[("average(a, b)", None)], &[&[0]]),
        ("parallel(a, stack(b, c))", &[("a", Some("a")), ("stack(b, c)", Some("c"))], &[&[0, 1]]),
        ("stack(x, parallel(a, b))", &[("a", Some("a")), ("b", Some("b"))], &[&[0, 1]]),
        ("stack(parallel(a, b), x)", &[("a", Some("x")), ("b", Some("x"))], &[&[0, 1]]),
        (
            "batch_split(a, b, batch_sizes=[2, 1])",
            &[("a", Some("a")), ("b", Some("b"))],
            &[&[0], &[0], &[1], &[0], &[0], &[1], &[0]],
        ),
        (
            "batch_split(c, batch_split(a, b, batch_sizes=[1, 2]), batch_sizes=[1, 3])",
            &[("c", Some("c")), ("a", Some("a")), ("b", Some("b"))],
            &[&[0], &[1], &[2], &[2], &[0]],
        ),
        (
            "parallel(c, batch_split(a, b, batch_sizes=[1, 2]))",
            &[("c", Some("c")), ("a", Some("a")), ("b", Some("b"))],
            &[&[0, 1], &[0, 2], &[0, 2], &[0, 1]],
        ),
    ];
    for (text, ways, rows) in cases {
        let found = text.parse::<Composition>().expect(text).ways().expect(text);
        let named: Vec<_> = found.all.iter().map(|way| (&way.name[..], way.head())).collect();
        assert_eq!(named, ways, "{text}");
        for (row, wanted) in rows.iter().enumerate() {
            assert_eq!(found.of_row(row), *wanted, "{text}, row {row}");
        }
    }
    // Sizes are not walked through row by row.
    let huge = "batch_split(a, b, batch_sizes=[4000000000000000000, 5])";
    let found = huge.parse::<Composition>().expect(huge).ways().expect(huge);
    assert_eq!((found.of_row(7), found.of_row(4_000_000_000_000_000_001)), (&[0][..], &[1][..]));
}

#[test]
fn fusions_end_in_their_own_heads() {
    let cases = [
        ("fuse(a, b)", Some("a,b")),
        ("stack(x, fuse(stack(a, b), c))", Some("b,c")),
        ("stack(fuse(a, b), x)", None),
        ("a", None),
    ];
    for (text, wanted) in cases {
        let way = text.parse::<Composition>().expect(text).ways().expect(text);
        let way = way.single().expect("one way");
        assert_eq!(way.last_fusion().as_deref(), wanted, "{text}");
    }
}

/// Pieces of compositions in any order: read and written the same, or refused in few words.
#[test]
fn random_text_is_read_or_refused() {
    let pieces = [
        "stack(",
        "fuse(",
        "split(",
        "parallel(",
        "batch_split(",
        "average(",
        ")",
        ", ",
        ",",
        "a",
        "b",
        "c",
        "splits=[1, 2]",
        "batch_sizes=2",
        "weights=[1, 3]",
        "\"",
        "\\",
        "ä",
        "=",
        "[",
        "]",
        " ",
        "1e9",
        "-",
        "\u{7}",
        "x y",
    ];
    let (mut random, mut read) = (Random::new(11), 0);
    for _ in 0..20_000 {
        let count = 1 + random.below(12);
        let text: String = (0..count).map(|_| pieces[random.below(pieces.len())]).collect();
        match text.parse::<Composition>() {
            Ok(composition) => {
                read += 1;
                let again = composition.to_string();
                assert_eq!(again.parse(), Ok(composition.clone()), "{text}: {again}");
                composition.ways().expect("a checked composition");
            }
            Err(error) => {
                let words = error.to_string();
                assert!(words.len() < 1000 && !words.chars().any(char::is_control), "{words:?}");
            }
        }
    }
    assert!(read > 100, "{read}");
}
