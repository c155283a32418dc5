"""An expression's text as a tree, macros expanded.

In: a text. Out: a `syntax.Node`; `problems.Invalid`, in upstream's words, when the text is no expression. Of what is wrong with the
grammar the first thing is told.

Precedence climbs by recursion, one function a level; how deep an expression may nest is bounded as upstream bounds it.

Upstream counterpart: cel-go's parser (CEL.g4, parser.go).
"""

from __future__ import annotations

from navarch.machinery.cel import macros
from navarch.machinery.cel.problems import Invalid, Problem
from navarch.machinery.cel.syntax import Call, Const, Entry, Ident, ListOf, MapOf, Message, Node, Select
from navarch.machinery.cel.tokens import RESERVED, Token, split

MAX_DEPTH = 100
"""How deep an expression may nest, and how many operators of one level, or selections, may follow each other. Upstream: 250."""
MAX_LENGTH = 100_000
"""Characters; cel-go's own bound."""
_OPERAND = (
    "'['",
    "'{'",
    "'('",
    "'.'",
    "'-'",
    "'!'",
    "'true'",
    "'false'",
    "'null'",
    "NUM_FLOAT",
    "NUM_INT",
    "NUM_UINT",
    "STRING",
    "BYTES",
    "IDENTIFIER",
)
_ORDER = ("'['", "']'", "'{'", "'}'", "'('", "')'", "'.'", "','", "'-'", "'!'", "'?'", *_OPERAND[6:])
_STRENGTH = {**dict.fromkeys(("<", "<=", ">", ">=", "==", "!=", "in"), 1), "+": 2, "-": 2, "*": 3, "/": 3, "%": 3}
_OPERATORS = {
    "<": "_<_",
    "<=": "_<=_",
    ">": "_>_",
    ">=": "_>=_",
    "==": "_==_",
    "!=": "_!=_",
    "in": "@in",
    "+": "_+_",
    "-": "_-_",
    "*": "_*_",
    "/": "_/_",
    "%": "_%_",
}
_STARTS = frozenset({"[", "{", "(", ".", "-", "!", "true", "false", "null", "float", "int", "uint", "string", "bytes", "word"})


class _Stop(Exception):
    """What follows a problem is not looked at."""


def parse(text: str) -> Node:
    if len(text) > MAX_LENGTH:
        raise Invalid(text, [Problem(None, f"expression code point size exceeds limit: size: {len(text)}, limit {MAX_LENGTH}")])
    tokens, wrong = split(text)
    parser = _Parser(tokens, wrong)
    try:
        made = parser.whole()
    except _Stop:
        made = Const(0, None)
    if wrong:
        raise Invalid(text, wrong)
    return made


class _Parser:
    def __init__(self, tokens: list[Token], wrong: list[Problem]) -> None:
        self.tokens = tokens
        self.wrong = wrong
        self.next = 0
        self.depth = 0

    # ---- tokens ----------------------------------------------------------------------------------------------------

    @property
    def token(self) -> Token:
        return self.tokens[self.next]

    def take(self) -> Token:
        token = self.tokens[self.next]
        self.next = min(self.next + 1, len(self.tokens) - 1)
        return token

    def accept(self, *kinds: str) -> Token | None:
        return self.take() if self.token.kind in kinds else None

    def close(self, kind: str, also: tuple[str, ...] = ()) -> Token:
        """The sign that must come; `also`: signs that could have come too, for the message."""
        if self.token.kind == kind:
            return self.take()
        if not also and self.token.kind == "end":
            return self.fail(f"missing '{kind}' at '<EOF>'")
        after = self.tokens[min(self.next + 1, len(self.tokens) - 1)].kind
        how = "extraneous" if after == kind and self.token.kind != "end" else "mismatched"
        wanted = f"'{kind}'" if not also else "{" + ", ".join(f"'{sign}'" for sign in (kind, *also)) + "}"
        return self.fail(f"{how} input '{self.token.text}' expecting {wanted}")

    def fail(self, message: str, at: int | None = None) -> Token:
        self.wrong.append(Problem(self.token.at if at is None else at, f"Syntax error: {message}"))
        raise _Stop

    def no_operand(self, also: tuple[str, ...] = ()) -> None:
        wanted = ", ".join(sorted({*_OPERAND, *also}, key=_ORDER.index))
        after = self.tokens[min(self.next + 1, len(self.tokens) - 1)].kind
        how = "extraneous" if self.token.kind != "end" and after in _STARTS else "mismatched"
        self.fail(f"{how} input '{self.token.text}' expecting {{{wanted}}}")

    # ---- levels ----------------------------------------------------------------------------------------------------

    def whole(self) -> Node:
        made = self.expression()
        if self.token.kind != "end":
            last = self.tokens[self.next + 1].kind == "end"
            self.fail(f"{'extraneous' if last else 'mismatched'} input '{self.token.text}' expecting <EOF>")
        return made

    def too_deep(self) -> None:
        self.wrong.append(Problem(None, "max recursion depth exceeded"))
        raise _Stop

    def expression(self, also: tuple[str, ...] = ()) -> Node:
        """Few calls a level, so that the depth allowed fits into Python's."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.too_deep()
        made = self.disjunction(also)
        if question := self.accept("?"):
            then = self.disjunction(())
            if self.token.kind != ":":
                self.fail(f"mismatched input '{self.token.text}' expecting ':'")
            self.take()
            made = Call(question.at, "_?_:_", [made, then, self.expression()])
        self.depth -= 1
        return made

    def disjunction(self, also: tuple[str, ...]) -> Node:
        """Chains of || and &&, as balanced trees: a long one is no deep one."""
        terms: list[Node] = []
        signs: list[int] = []
        while True:
            inner, between = [self.relation(also)], []
            while token := self.accept("&&"):
                between.append(token.at)
                inner.append(self.relation(()))
            terms.append(_balanced("_&&_", inner, between, 0, len(between) - 1))
            bar = self.accept("||")
            if bar is None:
                return _balanced("_||_", terms, signs, 0, len(signs) - 1)
            signs.append(bar.at)

    def relation(self, also: tuple[str, ...]) -> Node:
        """Comparisons, sums and products, by the strength of their signs; all of them to the left."""
        operands = [self.unary(also)]
        waiting: list[Token] = []
        count = 0

        def reduce(strength: int) -> None:
            while waiting and _STRENGTH[waiting[-1].kind] >= strength:
                sign, right = waiting.pop(), operands.pop()
                operands.append(Call(sign.at, _OPERATORS[sign.kind], [operands.pop(), right]))

        while self.token.kind in _STRENGTH:
            count += 1
            if self.depth + count > MAX_DEPTH:
                self.too_deep()
            reduce(_STRENGTH[self.token.kind])
            waiting.append(self.take())
            operands.append(self.unary(()))
        reduce(0)
        return operands[0]

    def unary(self, also: tuple[str, ...]) -> Node:
        sign = self.token
        if sign.kind == "-" and self.tokens[self.next + 1].kind in ("int", "float"):
            return self.members(self.primary(also))
        if sign.kind not in ("-", "!"):
            return self.members(self.primary(also))
        count = 0
        while self.accept(sign.kind):
            count += 1
        operand = self.members(self.primary(()))
        function = "-_" if sign.kind == "-" else "!_"
        return operand if count % 2 == 0 else Call(sign.at, function, [operand])

    # ---- members ---------------------------------------------------------------------------------------------------

    def members(self, made: Node) -> Node:
        count = 0
        while True:
            if dot := self.accept("."):
                made = self.member(made, dot)
            elif bracket := self.accept("["):
                function = "_[?_]" if self.accept("?") else "_[_]"
                index = self.expression(() if function == "_[?_]" else ("'?'",))
                self.close("]")
                made = Call(bracket.at, function, [made, index])
            else:
                return made
            count += 1
            if self.depth + count > MAX_DEPTH:
                self.too_deep()

    def member(self, operand: Node, dot: Token) -> Node:
        optional = self.accept("?")
        name = self.token
        if name.kind == "quoted":
            self.wrong.append(Problem(name.at, "unsupported syntax: '`'"))
            raise _Stop
        if name.kind != "word":
            self.fail(f"no viable alternative at input '.{'' if name.kind == 'end' else name.text}'")
        self.take()
        if optional:
            return Call(dot.at, "_?._", [operand, Const(name.at, name.text)])
        if opening := self.accept("("):
            return self.expanded(Call(opening.at, name.text, self.arguments(), operand))
        return Select(dot.at, operand, name.text)

    def expanded(self, call: Call) -> Node:
        try:
            return macros.expand(call)
        except macros.Unfit as error:
            self.wrong.append(Problem(error.at, str(error)))
            return call

    def arguments(self) -> list[Node]:
        if self.accept(")"):
            return []
        found = [self.expression(("')'",))]
        while self.accept(","):
            found.append(self.expression())
        self.close(")")
        return found

    # ---- what stands for itself ------------------------------------------------------------------------------------

    def primary(self, also: tuple[str, ...]) -> Node:
        token = self.token
        match token.kind:
            case "-":
                self.take()
                number = self.take()
                return self.integer(-number.value, token.at) if number.kind == "int" else Const(token.at, -number.value)
            case "int":
                self.take()
                return self.integer(token.value, token.at)
            case "uint" | "float" | "string" | "bytes":
                self.take()
                return Const(token.at, token.value)
            case "true" | "false" | "null":
                self.take()
                return Const(token.at, {"true": True, "false": False, "null": None}[token.kind])
            case "(":
                self.take()
                made = self.expression()
                self.close(")")
                return made
            case "[":
                return self.list_of(self.take())
            case "{":
                return self.map_of(self.take())
            case "." | "word":
                return self.name()
            case _:
                self.no_operand(also)
                raise AssertionError

    def integer(self, value: int, at: int) -> Node:
        if not -(2**63) <= value < 2**63:
            self.wrong.append(Problem(at, "invalid int literal"))
        return Const(at, value)

    def name(self) -> Node:
        dot = self.accept(".")
        token = self.token
        if token.kind != "word":
            self.fail(f"no viable alternative at input '.{'' if token.kind == 'end' else token.text}'")
        self.take()
        if token.text in RESERVED:
            self.wrong.append(Problem(token.at, f"reserved identifier: {token.text}"))
        name = f".{token.text}" if dot else token.text
        if opening := self.accept("("):
            return self.expanded(Call(opening.at, name, self.arguments()))
        return self.message(name) or Ident(token.at, name)

    def message(self, first: str) -> Node | None:
        """`a.b.C{…}`, if that is what comes; names alone are not taken."""
        at, name = self.next, first
        while self.tokens[at].kind == "." and self.tokens[at + 1].kind == "word":
            name += f".{self.tokens[at + 1].text}"
            at += 2
        if self.tokens[at].kind != "{":
            return None
        self.next = at
        opening = self.take()
        entries: list[Entry] = []
        while not self.accept("}"):
            optional = self.accept("?") is not None
            field = self.token
            if field.kind not in ("word", "quoted"):
                self.fail(f"mismatched input '{field.text}' expecting {{'}}', ',', '?', IDENTIFIER, ESC_IDENTIFIER}}")
            self.take()
            colon = self.colon()
            entries.append(Entry(colon.at, field.text.strip("`"), self.expression(), optional))
            if not self.accept(","):
                self.close("}", (",",))
                break
        return Message(opening.at, name, entries)

    def colon(self) -> Token:
        if self.token.kind != ":":
            self.fail(f"mismatched input '{self.token.text}' expecting ':'")
        return self.take()

    def list_of(self, opening: Token) -> Node:
        elements: list[Node] = []
        optional: set[int] = set()
        if self.accept(","):
            self.close("]")
            return ListOf(opening.at, [])
        while not self.accept("]"):
            if self.accept("?"):
                optional.add(len(elements))
            elements.append(self.expression(("']'", "','", "'?'") if not elements else ()))
            if not self.accept(","):
                self.close("]", (",",))
                break
            if self.token.kind == ",":
                self.close("]")
        return ListOf(opening.at, elements, frozenset(optional))

    def map_of(self, opening: Token) -> Node:
        entries: list[Entry] = []
        if self.accept(","):
            self.close("}")
            return MapOf(opening.at, [])
        while not self.accept("}"):
            optional = self.accept("?") is not None
            key = self.expression(("'}'", "','", "'?'") if not entries else ())
            colon = self.colon()
            entries.append(Entry(colon.at, key, self.expression(), optional))
            if not self.accept(","):
                self.close("}", (",",))
                break
        return MapOf(opening.at, entries)


def _balanced(function: str, terms: list[Node], signs: list[int], low: int, high: int) -> Node:
    """The terms around the signs `low` to `high`; the sign in the middle is the root's."""
    if high < low:
        return terms[low]
    middle = (low + high + 1) // 2
    left = _balanced(function, terms, signs, low, middle - 1)
    return Call(signs[middle], function, [left, _balanced(function, terms, signs, middle + 1, high)])
