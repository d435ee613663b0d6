//! The pickle of a PyTorch file, read as data.
//!
//! A pickle is a program for a small stack machine, and in Python it may call anything. This
//! machine has only the instructions that a dictionary of tensors needs. The few names that it
//! knows stand for records here, not for code, and any other is refused by name: nothing of the
//! file is ever executed.
//!
//! All compound values live in one list and refer to each other by place, so neither deep nor
//! cyclic values cost a stack or a leak; memory grows by a bounded amount an instruction, and the
//! instructions are counted. Texts stay in the pickle and are pointed to: it may use one of megabytes
//! as the name of each of a million tensors.

mod contents;

use std::collections::BTreeMap;

use safetensors::Dtype;

use crate::error::quoted;

pub(super) use contents::{byte_order, names, state_dictionary};

/// Bytes of the longest pickle that is read. One of a large model has some 100 kB.
pub(super) const LONGEST: usize = 16 << 20;

/// Instructions of the longest pickle. A tensor takes some 30.
const MOST_INSTRUCTIONS: usize = 2_000_000;

/// Dimensions of a tensor.
const MOST_DIMENSIONS: usize = 8;

/// Why a pickle is not read.
#[derive(Debug, PartialEq)]
pub(super) enum PickleError {
    /// It is not a pickle, or not a whole one.
    Damaged(String),
    /// It asks for what is not done.
    Refused(String),
}

use PickleError::{Damaged, Refused};

type Result<T> = std::result::Result<T, PickleError>;

/// A tensor as the pickle describes it, not yet compared with the storage's bytes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PickledTensor<'a> {
    /// The storage's name in the file.
    pub(super) storage: &'a str,
    pub(super) dtype: Dtype,
    /// Numbers that the storage has.
    pub(super) storage_numbers: usize,
    /// The place of the tensor's first number in the storage.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    /// Numbers between neighbours in each dimension.
    pub(super) strides: Vec<usize>,
}

#[derive(Clone, Copy)]
enum Value {
    Nothing,
    Truth(bool),
    Whole(i64),
    Real,
    Global(Global),
    /// A place in the machine's list.
    Compound(usize),
}

/// A name of Python's that a state dictionary refers to.
#[derive(Clone, Copy)]
enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Dtype),
}

impl Global {
    fn from_name(module: &str, name: &str) -> Result<Global> {
        let storage = |dtype| Ok(Global::Storage(dtype));
        match (module, name) {
            ("collections", "OrderedDict") => Ok(Global::OrderedDict),
            ("torch._utils", "_rebuild_tensor_v2") => Ok(Global::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Ok(Global::RebuildParameter),
            ("torch", "DoubleStorage") => storage(Dtype::F64),
            ("torch", "FloatStorage") => storage(Dtype::F32),
            ("torch", "HalfStorage") => storage(Dtype::F16),
            ("torch", "BFloat16Storage") => storage(Dtype::BF16),
            ("torch", "LongStorage") => storage(Dtype::I64),
            ("torch", "IntStorage") => storage(Dtype::I32),
            ("torch", "ShortStorage") => storage(Dtype::I16),
            ("torch", "CharStorage") => storage(Dtype::I8),
            ("torch", "ByteStorage") => storage(Dtype::U8),
            ("torch", "BoolStorage") => storage(Dtype::BOOL),
            _ => Err(Refused(format!(
                "its pickle asks for {}, which is refused: only tensors are read, and nothing is \
                 executed; save the model as safetensors if you trust the file",
                quoted(&format!("{module}.{name}"))
            ))),
        }
    }
}

enum Compound<'a> {
    Text(&'a str),
    Tuple(Vec<Value>),
    List(Vec<Value>),
    Dictionary(Vec<(Value, Value)>),
    Storage { name: &'a str, dtype: Dtype, numbers: usize },
    Tensor(PickledTensor<'a>),
}

#[derive(Default)]
struct Machine<'a> {
    rest: &'a [u8],
    stack: Vec<Value>,
    /// Lengths of the stack where marks were set.
    marks: Vec<usize>,
    memo: BTreeMap<u64, Value>,
    compounds: Vec<Compound<'a>>,
}

impl<'a> Machine<'a> {
    fn run(&mut self) -> Result<Value> {
        for _ in 0..MOST_INSTRUCTIONS {
            let code = self.byte()?;
            if code == b'.' {
                return self.pop();
            }
            self.instruction(code)?;
        }
        Err(Refused(format!("its pickle has more than {MOST_INSTRUCTIONS} instructions")))
    }

    fn instruction(&mut self, code: u8) -> Result<()> {
        match code {
            // PROTO, FRAME
            0x80 => match self.byte()? {
                2..=5 => {}
                other => {
                    return Err(Refused(format!("its pickle is of protocol {other}, not 2 to 5")));
                }
            },
            0x95 => drop(self.take(8)?),
            // NONE, NEWTRUE, NEWFALSE, BINFLOAT
            b'N' => self.stack.push(Value::Nothing),
            0x88 | 0x89 => self.stack.push(Value::Truth(code == 0x88)),
            b'G' => {
                self.take(8)?;
                self.stack.push(Value::Real);
            }
            // BININT1, BININT2, BININT, LONG1
            b'K' => self.whole(1, false)?,
            b'M' => self.whole(2, false)?,
            b'J' => self.whole(4, true)?,
            0x8a => {
                let length = usize::from(self.byte()?);
                self.whole(length, true)?;
            }
            // SHORT_BINUNICODE, BINUNICODE
            0x8c => self.text(1)?,
            b'X' => self.text(4)?,
            // EMPTY_TUPLE, TUPLE1, TUPLE2, TUPLE3, TUPLE
            b')' => self.push(Compound::Tuple(Vec::new())),
            0x85..=0x87 => {
                let values = self.last(usize::from(code - 0x84))?;
                self.push(Compound::Tuple(values));
            }
            b't' => {
                let values = self.marked()?;
                self.push(Compound::Tuple(values));
            }
            // EMPTY_LIST, APPEND, APPENDS
            b']' => self.push(Compound::List(Vec::new())),
            b'a' => {
                let values = self.last(1)?;
                self.append(values)?;
            }
            b'e' => {
                let values = self.marked()?;
                self.append(values)?;
            }
            // EMPTY_DICT, SETITEM, SETITEMS
            b'}' => self.push(Compound::Dictionary(Vec::new())),
            b's' => {
                let values = self.last(2)?;
                self.set_items(&values)?;
            }
            b'u' => {
                let values = self.marked()?;
                self.set_items(&values)?;
            }
            // MARK
            b'(' => self.marks.push(self.stack.len()),
            // BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET
            b'q' => self.remember(1)?,
            b'r' => self.remember(4)?,
            0x94 => {
                let value = *self.stack.last().ok_or_else(empty)?;
                self.memo.insert(self.memo.len() as u64, value);
            }
            b'h' => self.recall(1)?,
            b'j' => self.recall(4)?,
            // GLOBAL, STACK_GLOBAL
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.stack.push(Value::Global(Global::from_name(module, name)?));
            }
            0x93 => {
                let names = self.last(2)?;
                let [Some(Compound::Text(module)), Some(Compound::Text(name))] =
                    [self.compound(&names[0]), self.compound(&names[1])]
                else {
                    return Err(Damaged("its pickle names what is not a name".into()));
                };
                let global = Global::from_name(module, name)?;
                self.stack.push(Value::Global(global));
            }
            // BINPERSID, REDUCE, BUILD
            b'Q' => self.storage()?,
            b'R' => self.call()?,
            b'b' => self.set_state()?,
            other => {
                return Err(Refused(format!(
                    "its pickle has the instruction {other:#04x}, which no dictionary of tensors needs"
                )));
            }
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(cut_off)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A length of `width` bytes, little end first.
    fn length(&mut self, width: usize) -> Result<u64> {
        let bytes = self.take(width)?;
        Ok(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    fn line(&mut self) -> Result<&'a str> {
        let end = self.rest.iter().position(|byte| *byte == b'\n').ok_or_else(cut_off)?;
        let line = self.take(end)?;
        self.take(1)?;
        std::str::from_utf8(line).map_err(|_| not_unicode())
    }

    fn push(&mut self, compound: Compound<'a>) {
        self.stack.push(Value::Compound(self.compounds.len()));
        self.compounds.push(compound);
    }

    fn whole(&mut self, width: usize, signed: bool) -> Result<()> {
        if width > 8 {
            return Err(Damaged(format!("its pickle has a whole number of {width} bytes")));
        }
        let number = self.length(width)?;
        let unused = 64 - 8 * width as u32;
        let number = match signed && width > 0 {
            true => ((number << unused) as i64) >> unused,
            false => number as i64,
        };
        self.stack.push(Value::Whole(number));
        Ok(())
    }

    fn text(&mut self, width: usize) -> Result<()> {
        let length = usize::try_from(self.length(width)?).map_err(|_| cut_off())?;
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| not_unicode())?;
        self.push(Compound::Text(text));
        Ok(())
    }

    /// Lowest place that may be taken from the stack: nothing below an open mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Value> {
        Ok(self.last(1)?[0])
    }

    /// Takes the last `count` values.
    fn last(&mut self, count: usize) -> Result<Vec<Value>> {
        let start = self.stack.len().checked_sub(count).filter(|start| *start >= self.floor());
        Ok(self.stack.split_off(start.ok_or_else(empty)?))
    }

    /// Takes the values since the last mark.
    fn marked(&mut self) -> Result<Vec<Value>> {
        let start = self.marks.pop().ok_or_else(empty)?;
        Ok(self.stack.split_off(start))
    }

    fn compound(&self, value: &Value) -> Option<&Compound<'a>> {
        match value {
            Value::Compound(place) => self.compounds.get(*place),
            _ => None,
        }
    }

    /// The compound on top of the stack, which stays there.
    fn top(&mut self) -> Result<&mut Compound<'a>> {
        match self.stack.last() {
            Some(Value::Compound(place)) if self.stack.len() > self.floor() => {
                self.compounds.get_mut(*place).ok_or_else(empty)
            }
            _ => Err(empty()),
        }
    }

    fn append(&mut self, values: Vec<Value>) -> Result<()> {
        match self.top()? {
            Compound::List(list) => list.extend(values),
            _ => return Err(Damaged("its pickle appends to what is not a list".into())),
        }
        Ok(())
    }

    fn set_items(&mut self, values: &[Value]) -> Result<()> {
        let (pairs, rest) = values.as_chunks::<2>();
        match self.top()? {
            Compound::Dictionary(entries) if rest.is_empty() => {
                entries.extend(pairs.iter().map(|[key, value]| (*key, *value)));
            }
            _ => return Err(Damaged("its pickle sets items of what is not a dictionary".into())),
        }
        Ok(())
    }

    fn remember(&mut self, width: usize) -> Result<()> {
        let place = self.length(width)?;
        let value = *self.stack.last().ok_or_else(empty)?;
        self.memo.insert(place, value);
        Ok(())
    }

    fn recall(&mut self, width: usize) -> Result<()> {
        let place = self.length(width)?;
        let missing =
            || Damaged(format!("its pickle recalls the value {place}, which it never kept"));
        self.stack.push(*self.memo.get(&place).ok_or_else(missing)?);
        Ok(())
    }

    /// A storage, from the tuple ("storage", type, name, device, numbers), after which the old
    /// format says of which other storage it is a part: of none.
    fn storage(&mut self) -> Result<()> {
        let value = self.pop()?;
        let wrong = || Damaged("its pickle refers to a storage in an unknown way".into());
        let Some(Compound::Tuple(parts)) = self.compound(&value) else { return Err(wrong()) };
        let ([kind, Value::Global(Global::Storage(dtype)), name, _, Value::Whole(numbers)]
        | [
            kind,
            Value::Global(Global::Storage(dtype)),
            name,
            _,
            Value::Whole(numbers),
            Value::Nothing,
        ]) = parts[..]
        else {
            return Err(wrong());
        };
        match (self.compound(&kind), self.compound(&name)) {
            (Some(Compound::Text("storage")), Some(Compound::Text(name))) => {
                let numbers = usize::try_from(numbers).map_err(|_| wrong())?;
                let name = *name;
                self.push(Compound::Storage { name, dtype, numbers });
                Ok(())
            }
            _ => Err(wrong()),
        }
    }

    /// A known name applied to a tuple of arguments.
    fn call(&mut self) -> Result<()> {
        let [callee, arguments] = self.last(2)?[..] else { return Err(empty()) };
        let Value::Global(callee) = callee else {
            let kind = self.kind(&callee);
            return Err(Refused(format!("its pickle calls {kind}, which is refused")));
        };
        let Some(Compound::Tuple(arguments)) = self.compound(&arguments) else {
            return Err(Damaged("its pickle calls with what is not a tuple".into()));
        };
        match callee {
            Global::OrderedDict if arguments.is_empty() => {
                self.push(Compound::Dictionary(Vec::new()));
            }
            Global::RebuildTensor => {
                let tensor = self.tensor(arguments)?;
                self.push(Compound::Tensor(tensor));
            }
            Global::RebuildParameter => {
                let data = *arguments.first().ok_or_else(unknown_call)?;
                let Some(Compound::Tensor(_)) = self.compound(&data) else {
                    return Err(unknown_call());
                };
                self.stack.push(data);
            }
            Global::OrderedDict | Global::Storage(_) => return Err(unknown_call()),
        }
        Ok(())
    }

    /// A tensor, from (storage, offset, shape, strides, requires gradient, hooks).
    fn tensor(&self, arguments: &[Value]) -> Result<PickledTensor<'a>> {
        let [storage, Value::Whole(offset), shape, strides, ..] = arguments else {
            return Err(unknown_call());
        };
        let Some(Compound::Storage { name, dtype, numbers }) = self.compound(storage) else {
            return Err(unknown_call());
        };
        let (shape, strides) = (self.sizes(shape)?, self.sizes(strides)?);
        if shape.len() != strides.len() {
            return Err(Damaged(
                "its pickle has a tensor with a stride too many or too few".into(),
            ));
        }
        Ok(PickledTensor {
            storage: name,
            dtype: *dtype,
            storage_numbers: *numbers,
            offset: usize::try_from(*offset).map_err(|_| unknown_call())?,
            shape,
            strides,
        })
    }

    fn sizes(&self, value: &Value) -> Result<Vec<usize>> {
        let Some(Compound::Tuple(sizes)) = self.compound(value) else { return Err(unknown_call()) };
        if sizes.len() > MOST_DIMENSIONS {
            return Err(Damaged(format!("its pickle has a tensor of {} dimensions", sizes.len())));
        }
        let size = |value: &Value| match value {
            Value::Whole(size) => usize::try_from(*size).map_err(|_| unknown_call()),
            _ => Err(unknown_call()),
        };
        sizes.iter().map(size).collect()
    }

    /// A dictionary's attributes, such as the module versions that PyTorch keeps: not needed.
    fn set_state(&mut self) -> Result<()> {
        self.pop()?;
        match self.top()? {
            Compound::Dictionary(_) => Ok(()),
            _ => Err(Refused("its pickle sets the state of what is not a dictionary".into())),
        }
    }

    /// What a message calls a value.
    fn kind(&self, value: &Value) -> &'static str {
        match (value, self.compound(value)) {
            (Value::Nothing, _) => "None",
            (Value::Truth(_), _) => "a truth value",
            (Value::Whole(_) | Value::Real, _) => "a number",
            (Value::Global(_), _) => "a class or function",
            (_, Some(Compound::Text(_))) => "a text",
            (_, Some(Compound::Tuple(_))) => "a tuple",
            (_, Some(Compound::List(_))) => "a list",
            (_, Some(Compound::Dictionary(_))) => "a dictionary",
            (_, Some(Compound::Storage { .. })) => "a bare storage",
            (_, Some(Compound::Tensor(_))) => "a tensor",
            (Value::Compound(_), None) => "nothing",
        }
    }
}

fn cut_off() -> PickleError {
    Damaged("its pickle is cut off".into())
}

fn empty() -> PickleError {
    Damaged("its pickle takes a value that is not there".into())
}

fn not_unicode() -> PickleError {
    Damaged("its pickle has a name that is not UTF-8".into())
}

fn unknown_call() -> PickleError {
    Damaged("its pickle describes a tensor in an unknown way".into())
}
