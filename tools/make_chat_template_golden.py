#!/usr/bin/env python3
"""Makes tests/golden/chat/cases.json: what Python's jinja2 renders, in the environment transformers uses for chat
templates, for tests/text/ to compare with. A case that jinja2 refuses has "error" instead of "text".

    pip install jinja2==3.1.6 && tools/make_chat_template_golden.py
"""
import datetime
import json
import pathlib

import jinja2
import jinja2.ext
import jinja2.sandbox

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests/golden/chat/cases.json"
NOW = datetime.datetime(2025, 3, 7, 14, 5, 9)
MESSAGES = [
    {"role": "system", "content": "Be brief. "},
    {"role": "user", "content": "  Grüße <|end|>\n 你好 🙂  "},
    {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello!", "tool_calls": [
        {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": [2.5, None, True, "x\"y\n"]}}}]},
    {"role": "tool", "content": "3.5", "name": "add"},
    {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "image"}, {"type": "text", "text": "two"}]},
]
TOOLS = [{"type": "function", "function": {"name": "add", "description": "Adds <b>'two'</b> & more", "parameters": {
    "type": "object", "properties": {"a": {"type": "number", "enum": [1, 2]}, "b": {"type": "array", "items": {"type": "integer"}}},
    "required": ["a"]}}}]
VARIABLES = {"n": 7, "pi": 3.25, "big": 1e16, "small": 1.5e-7, "s": "Hello, World", "empty": "", "yes": True, "nothing": None,
             "l": [3, 1, 2], "words": ["b", "A", "c", "a"], "d": {"b": 1, "a": {"x": [10, 20]}, "items": 5}, "u": "ÀéÎ ßñ 你好🙂",
             "people": [{"name": "Zoe", "age": 3, "tags": ["x"]}, {"name": "adam", "age": 30}, {"name": "Bob", "age": 3}]}

EXPRESSIONS = r"""
1 + 2 * 3 - 4 // 3 % 2
7 / 2
-7 // 2
-7 % 3
7 % -3
7.5 // 2
2 ** 10
2 ** -1
-2 ** 2
2 ** 3 ** 2
1e3
1_000 + 0
0.1 + 0.2
big ~ ' ' ~ small ~ ' ' ~ 1.0 ~ ' ' ~ 100000.0 ~ ' ' ~ 123456789012345680.0
n == 7 and not n != 7
1 < 2 < 3
1 < 3 < 2
1 == 1.0
true == 1
'a' < 'b'
'ell' in s
'x' not in s
3 in l
'a' in d
'zzz' in undefinedthing
[1, 2] + [3]
[1, 2] == [1, 2]
(1, 2) == (1, 2)
(1,)
()
1, 2
{'a': 1, 'b': [true, none, 'q']}
{'a': 1}['a']
{}.x
'a' 'b' "c"
'it\'s \x41\u00e9\n\t\\ \q'
"say \"x\""
'a' ~ 1 ~ none ~ true ~ 1.5 ~ [1, 'x']
'ab' * 3
[0] * 3
s[0]
s[-1]
s[2:5]
s[:-3]
s[::-1]
s[::2]
s[10:2]
u[1:4]
u[::-1]
l[0]
l[-1]
l[1:]
l[::-1]
l[5]
d.a.x[1]
d['a']['x'][0]
d.b
d['b']
d['items']
d.missing is defined
d.missing
d['missing'] is undefined
d.missing.deeper
undefinedthing
undefinedthing.x
undefinedthing + 1
undefinedthing ~ 'x'
undefinedthing == undefinedthing2
undefinedthing == none
not undefinedthing
undefinedthing | length
undefinedthing | default('x')
'' | default('x')
'' | default('x', true)
nothing | default('x')
nothing | default('x', boolean=true)
none
nothing is none
true
'x' if yes else 'y'
'x' if not yes
('x' if not yes) is undefined
'a' if false else 'b' if false else 'c'
yes and 'x'
nothing or 'y'
n is odd
n is not even
n is divisibleby 7
n is divisibleby(3)
n is eq 7
n is lt 8 and n is gt 6
n is in [1, 7]
s is string
s is mapping
d is mapping
d is sequence
l is sequence
s is iterable
n is iterable
n is number
pi is float
n is integer
yes is boolean
yes is integer
yes is number
yes is true
n is true
range is callable
nothing is sameas none
'abc' is lower
'ABC' is upper
'a' is defined
s.upper() ~ s.lower() ~ u.upper() ~ u.lower()
s.title() ~ "it's a dog's".title()
"it's a (dog) well-known".title()
"it's a (dog) well-known" | title
u | title
s | capitalize
u.capitalize()
'  x y '.strip() ~ '|' ~ '  x '.lstrip() ~ '|' ~ ' x  '.rstrip() ~ '|'
'xxabcxx'.strip('x')
'abcabc'.rstrip('cb')
'\n\nab\n'.strip('\n')
s.split(', ')
'a b  c '.split()
'a,b,,c'.split(',')
'a,b,c'.split(',', 1)
'a b c d'.split(none, 2)
' a b c d '.rsplit(none, 1)
'a,b,c'.rsplit(',', 1)
'a,b,c'.split(',')[-1]
'<think>x</think>y'.split('</think>')[-1].lstrip('\n')
'a\nb\r\nc\n'.splitlines()
'a\nb'.splitlines(true)
'abc'.startswith('ab')
'abc'.startswith(('x', 'a'))
'abc'.endswith('bc')
'hello'.replace('l', 'L')
'hello'.replace('l', 'L', 1)
'abc'.replace('', '-')
'hello' | replace('l', 1)
'hello'.find('l') ~ 'hello'.rfind('l') ~ 'hello'.find('z')
u.find('好')
'hello'.count('l')
'hello'.index('z')
'-'.join(['a', 'b'])
'-'.join([1])
'abc'.removeprefix('a').removesuffix('c')
'a=b=c'.partition('=')
'a=b=c'.rpartition('=')
'{}-{} {{}}'.format(n, s)
'{0}{1}{0}'.format('a', pi)
'<{a}|{}>'.format(l, a=nothing)
'[{}]{}{}'.format(absent, yes, messages[1].content)
'{} {0}'.format(1, 2)
'{}{}'.format(1)
'{1}'.format(1)
'{b}'.format(a=1)
'{'.format(1)
'}'.format(1)
'no field'.format(1)
'abc'.partition('x')
'12'.isdigit() ~ ''.isdigit() ~ 'a1'.isalnum() ~ 'ab'.isalpha() ~ ' '.isspace() ~ 'Ab'.isupper() ~ 'ab1'.islower()
d.items() | list
d.keys() | list
d.values() | list
d.get('a')
d.get('zz')
d.get('zz', 5)
d.items is callable
d | items | list
d | length
l.index(2)
l.count(2)
l.append(4)
d.update({})
l | sort
l | sort(reverse=true)
words | sort
words | sort(case_sensitive=true)
people | sort(attribute='age') | map(attribute='name') | list
people | sort(attribute='age,name') | map(attribute='name') | list
l | first ~ l | last
[] | first
l | max ~ l | min ~ words | max
l | sum
people | sum(attribute='age')
people | sum('age', 100)
l | join
l | join(', ')
people | join(', ', attribute='name')
l | reverse | list
'abc' | reverse
l | map('string') | list
words | map('upper') | join
people | map(attribute='tags.0', default='-') | list
people | map(attribute='age') | unique | list
words | unique | list
words | select('equalto', 'a') | list
l | select('odd') | list
l | select | list
l | reject('gt', 1) | list
nothing | selectattr('x') | map('upper') | list
people | selectattr('age', 'equalto', 3) | map(attribute='name') | list
people | selectattr('tags') | list | length
people | selectattr('tags', 'defined') | list | length
people | rejectattr('age', 'in', [3]) | list
d | dictsort
{'b': 2, 'A': 1, 'c': 0} | dictsort
{'b': 2, 'A': 1, 'c': 0} | dictsort(false, 'value', true)
'3' | int + 1
'3.9' | int
'x' | int
'x' | int(5)
3.9 | int
'ff' | int(0, 16)
'1.5' | float
'x' | float
3 | float
-3 | abs
2.567 | round(2)
2.5 | round
3 | round
2.1 | round(0, 'ceil')
'  a ' | trim
'xxaxx' | trim('x')
s | length
u | length
'a b c' | wordcount
'a\nb\n\nc' | indent
'a\nb\n\nc' | indent(2, true)
'a\nb\n\nc' | indent(2, blank=true)
'%s is %d and %.2f%%' | format('x', 5, 1.234)
'%s' % 'x'
'%s-%s' % (1, 'b')
'<a href="x">\'&</a>' | escape
'<a>' | safe
s | upper | lower | title
[1, 2, 3, 4, 5] | batch(2) | list
[1, 2, 3, 4, 5] | batch(2, 0) | list
d | tojson
d | tojson(indent=2)
u | tojson
u | tojson(ensure_ascii=true)
[1.0, 1e20, 1e-7, -0.0, 0.1] | tojson
{'k': '</script>&\'"\\/'} | tojson
{'b': 1, 'a': 2} | tojson(sort_keys=true)
[1, {'a': []}] | tojson(separators=(',', ':'))
[] | tojson(indent=4)
[[], {}, [1]] | tojson(indent=1)
{1: 2, none: 3} | tojson
tools | tojson
tools | tojson(indent=4)
messages[2].tool_calls[0].function.arguments | tojson
messages[1]['content'] | trim
messages[1].content.strip() | length
undefinedthing | tojson
[undefinedthing]
tools
messages[2]['tool_calls']
[1, 'a\'b', "q\"'", 'é\n\x07', 2.5, none]
range(5) | list
range(2, 10, 3) | list
range(5, 0, -2) | list
range(0) | list
range(1000000) | list
dict(a=1, b='x')
namespace(a=1).a
strftime_now('%Y-%m-%d %H:%M:%S %d %b %B %A %-d')
raise_exception('no way')
nofilter | nope
x is nope
nofunction()
s()
s.nomethod()
1 + 'a'
'a' + 1
[1] + (2,)
1 < 'a'
1 / 0
{'a': 1}[[1]]
loop
l | tojson | length
people[0].name ~ people[0]['age']
people.0.name
'a' in ['a'] and 'b' not in ['a']
not 1 == 2
not not true
(n if n > 5 else 0) * 2
-n + +n
[x for x in l]
lambda x: x
"{{" ~ '}}' ~ "{%"
'é' ~ "\u4f60"
messages | length - 1
messages[-1].content | map(attribute='type') | join('+')
(messages | selectattr('role', 'equalto', 'user') | list)[-1].content is string
messages[1:] | length
messages | map(attribute='role') | join(',')
d.a.x | join('/') | upper
'abc' is in 'xabcx'
[1, 2, 3][1:][0]
'%d' % 3.7
'a' is eq('a') and true
1 if 0 else 2 if 0 else 3
""".strip().split("\n")

TEMPLATES = [
    "", "plain\n", "plain\n\n", "a\r\nb\rc\n", "{# comment #}x{#- c -#} y", "  {# indented #}\nnext",
    "{% if yes %}\n  A\n{% endif %}\nB", "  {% if yes %}\nA\n  {% endif %}  \nB", "x {%- if yes %} A {%- endif %} B",
    "x {%- if yes -%}\n\n A \n{%- endif -%}\n\n B", "  {%+ if yes %}A{% endif +%}\nB", "a\n   {{- s -}}\n  b", "\n\n{{ s }}\n",
    "{% raw %}{{ x }} {% if %}{% endraw %}", "  {% raw %}\n x {% endraw %}\ny", "{%- raw -%}  z {%- endraw -%} w",
    "{% for x in l %}{{ x }},{% endfor %}", "{% for x in l %}\n{{ x }}\n{% endfor %}\n.",
    "{% for x in l if x > 1 %}{{ loop.index }}/{{ loop.length }}:{{ x }} {% endfor %}",
    "{% for x in [] %}x{% else %}none{% endfor %}", "{% for x in undefinedthing %}x{% else %}none{% endfor %}",
    "{% for x in l %}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}"
    "{{ loop.previtem is defined }}{{ loop.nextitem }}{{ loop.cycle('a', 'b') }}{{ loop.changed(x > 1) }};{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k in d %}{{ k }}{% endfor %}",
    "{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% for c in u %}{{ c }}|{% endfor %}",
    "{% for x in 5 %}{% endfor %}", "{% for a, b in [[1]] %}{% endfor %}",
    "{% for x in range(6) %}{% if x == 1 %}{% continue %}{% endif %}{% if x == 4 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in l %}{% for y in l %}{{ loop.index }}{% if y == 1 %}{% break %}{% endif %}{% endfor %}{{ loop.index }} {% endfor %}",
    "{% for x in [1, [2, [3]]] recursive %}{% if x is iterable %}({{ loop(x) }}){% else %}{{ x }}@{{ loop.depth }}{% endif %}{% endfor %}",
    "{% set a = 1 %}{{ a }}{% set a, b = 2, 3 %}{{ a + b }}", "{% set a = 1, 2 %}{{ a }}", "{% set a %}x {{ s }}{% endset %}[{{ a }}]",
    "{% set a | upper | trim %} x {{ s }} {% endset %}[{{ a }}]",
    "{% set a = 1 %}{% for x in l %}{% set a = x %}{{ a }}{% endfor %}{{ a }}", "{% if yes %}{% set a = 5 %}{% endif %}{{ a }}",
    "{% set ns = namespace(n=0, found=false) %}{% for x in l %}{% set ns.n = ns.n + x %}{% endfor %}{{ ns.n }}{{ ns.found }}{{ ns.nope }}",
    "{% set d.x = 1 %}", "{% set ns = namespace() %}{% set ns.a = [1] %}{{ ns.a + [2] }}",
    "{% macro m(a, b=2, c='x') %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, c=3) }}{{ m(b=5, a=4) }}{{ m() }}",
    "{% macro m(x) %}{{ x }}{% if x > 0 %}{{ m(x - 1) }}{% endif %}{% endmacro %}{{ m(3) }}",
    "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, z=3) }}", "{% macro m() %}{{ n }}{% endmacro %}{% set n = 9 %}{{ m() }}",
    "{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}in {{ s }}{% endcall %}",
    "{% macro m() %}<{{ caller(1) }}>{% endmacro %}{% call(i) m() %}in {{ i }}{% endcall %}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) if false else m('x') | upper }}{{ m is callable }}",
    "{% macro outer(x) %}{% macro inner() %}{{ x }}{% endmacro %}{{ inner() }}{% endmacro %}{{ outer(4) }}",
    "{% filter upper %}a{{ s }}{% endfilter %}", "{% filter replace('a', 'b') | upper %}aXa{% endfilter %}",
    "{% with a=1, b=2 %}{{ a + b }}{% endwith %}{{ a }}", "{% generation %}x{{ s }}{% endgeneration %}y",
    "{% if n > 9 %}a{% elif n > 6 %}b{% elif n > 3 %}c{% else %}d{% endif %}", "{% if n > 9 %}a{% else %}d{% endif %}",
    "{{ {'a': {'b': 1}}.a.b }}{{ {'a': {}} }}", "{{ '}}' }}{{ '%}' }}", "{% if '%}' %}x{% endif %}", "{{- s -}}", "{{ s }}{{ s }}\n{{ s }}\n",
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for c in m.content %}{% if c.type == 'text' %}{{ c.text }}{% else %}<img>{% endif %}{% endfor %}{% endif %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "{%- set ns = namespace(last=-1) -%}\n{%- for m in messages[::-1] %}\n    {%- set i = (messages | length - 1) - loop.index0 %}\n"
    "    {%- if ns.last < 0 and m.role == 'user' and m.content is string %}\n        {%- set ns.last = i %}\n    {%- endif %}\n{%- endfor %}\n"
    "{{- ns.last }}",
    "{%- macro prop(p, depth) -%}\n{%- if p.type == 'object' -%}\n{%- for k, v in p.properties | dictsort %}\n{{ '  ' * depth }}{{ k }}: "
    "{{ prop(v, depth + 1) }}{% if k in p.required %}!{% endif %}\n{%- endfor %}\n{%- elif p.type == 'array' -%}\n{{ prop(p['items'], depth) }}[]\n"
    "{%- else -%}\n{{ p.type }}{% if p.enum %}({{ p.enum | join('|') }}){% endif %}\n{%- endif -%}\n{%- endmacro -%}\n"
    "{% for t in tools %}{{ t.function.name }}{{ prop(t.function.parameters, 1) }}\n{% endfor %}",
    "{% for m in messages %}{% if m.tool_calls %}{% for t in m.tool_calls %}{{ {'name': t.function.name, 'arguments': t.function.arguments} | tojson }}"
    "{% endfor %}{% endif %}{% endfor %}",
    "{% set content = messages[2].content %}{% if '</think>' in content %}{% set think = content.split('</think>')[0].split('<think>')[-1] %}"
    "{% set content = content.split('</think>')[-1].lstrip('\n') %}{% endif %}[{{ think | trim }}][{{ content }}]",
    "{% if messages[0].role == 'system' %}{% set sys = messages[0].content | trim %}{% set loop_messages = messages[1:] %}{% endif %}"
    "{{ bos_token }}{{ sys }}{% for m in loop_messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}x{% else %}o{% endif %}{% endfor %}",
    # what must be refused
    "{{", "{{ }}", "{% %}", "{% if %}{% endif %}", "{% if yes %}", "{% endif %}", "{% for %}{% endfor %}", "{% for x l %}{% endfor %}",
    "{{ 1 + }}", "{{ (1 }}", "{{ [1, }}", "{{ 'x }}", "{# x", "{% raw %}x", "{{ x | }}", "{{ a.b. }}", "{% unknown %}", "{{ 1 2 }}", "{% set %}",
    "{% include 'x' %}", "{% extends 'x' %}", "{% import 'x' as y %}", "{% break %}", "{{ ) }}", "{{ a[] }}", "{{ 5 is }}", "{% else %}",
    "{% for x in l %}{% endif %}", "{% macro %}{% endmacro %}", "{% macro m(a=1, b) %}{% endmacro %}", "{{ f(a=1, 2) }}",
]


def environment():
    class Generation(jinja2.ext.Extension):
        tags = {"generation"}

        def parse(self, parser):
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return jinja2.nodes.If(jinja2.nodes.Const(True), body, [], []).set_lineno(line)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda form: NOW.strftime(form)
    return env


def main() -> None:
    env = environment()
    variables = VARIABLES | {"messages": MESSAGES, "tools": TOOLS, "bos_token": "<s>", "eos_token": "</s>",
                             "add_generation_prompt": True}
    cases = []
    for source in ["{{ " + e + " }}" for e in EXPRESSIONS] + TEMPLATES:
        try:
            cases.append({"source": source, "text": env.from_string(source).render(**variables)})
        except Exception as error:  # every refusal counts, of whatever kind
            cases.append({"source": source, "error": f"{type(error).__name__}: {error}"})
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps({"messages": MESSAGES, "tools": TOOLS, "variables": VARIABLES, "cases": cases},
                              ensure_ascii=True, indent=1) + "\n")


if __name__ == "__main__":
    main()
