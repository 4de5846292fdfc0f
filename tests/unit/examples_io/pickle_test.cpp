#include "io/pickle.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "fixtures.hpp"
#include "pickles.hpp"

namespace {
using io::Pickle;
using pare::ErrorCode;

pare::Result<Pickle> parse(std::string_view code) {
  const std::vector<char> exact(code.begin(), code.end());  // a sanitizer sees the first byte behind it
  return Pickle::parse(fixtures::bytes({exact.data(), exact.size()}), "file");
}

/// The value of a program, which must be a T.
template <class T>
T value(const std::string& code) {
  const auto pickle = parse(pickles::program(code));
  EXPECT_TRUE(pickle) << pickle.error().message;
  if (!pickle) return T{};
  const T* found = pickle->get<T>(pickle->root());
  EXPECT_NE(found, nullptr);
  return found == nullptr ? T{} : *found;
}

std::string fault(const std::string& code) {
  const auto pickle = parse(code);
  if (pickle) return "";
  EXPECT_TRUE(pickle.error().message.starts_with("file: pickle at byte ")) << pickle.error().message;
  return pickle.error().message;
}

void expect_fault(const std::string& code, std::string_view reason) {
  const std::string found = fault(pickles::program(code));
  EXPECT_NE(found.find(reason), std::string::npos) << "expected: " << reason << "\nfound: " << found;
}

using namespace std::string_literals;

TEST(Pickle, Numbers) {
  EXPECT_EQ(value<std::int64_t>("K\xff"), 255);
  EXPECT_EQ(value<std::int64_t>("M\xff\xff"), 65535);
  EXPECT_EQ(value<std::int64_t>("J\xfe\xff\xff\xff"), -2);
  EXPECT_EQ(value<std::int64_t>("\x8a\0"s), 0);
  EXPECT_EQ(value<std::int64_t>("\x8a\x01\x80"), -128);
  EXPECT_EQ(value<std::int64_t>("\x8a\x02\xff\0"s), 255);
  EXPECT_EQ(value<std::int64_t>("\x8b\x02\0\0\0\0\xff"s), -256);
  EXPECT_EQ(value<std::int64_t>(pickles::integer(std::numeric_limits<std::int64_t>::min())),
            std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(value<Pickle::BigInteger>("\x8a\x09\0\0\0\0\0\0\0\0\x40"s).bytes, "\0\0\0\0\0\0\0\0\x40"s);
  EXPECT_EQ(value<double>("G\x3f\xf8\0\0\0\0\0\0"s), 1.5);
  EXPECT_TRUE(value<bool>("\x88"));
  EXPECT_FALSE(value<bool>("\x89"));
  value<Pickle::None>("N");
}

TEST(Pickle, Texts) {
  EXPECT_EQ(value<std::string>("X\x02\0\0\0ab"s), "ab");
  EXPECT_EQ(value<std::string>("\x8c\x02"
                               "ab"),
            "ab");
  EXPECT_EQ(value<std::string>("\x8d\x02\0\0\0\0\0\0\0ab"s), "ab");
  EXPECT_EQ(value<Pickle::Bytes>("C\x02"
                                 "ab")
                .bytes,
            "ab");
  EXPECT_EQ(value<Pickle::Bytes>("B\x02\0\0\0ab"s).bytes, "ab");
  EXPECT_EQ(value<Pickle::Bytes>("U\x02"
                                 "ab")
                .bytes,
            "ab");
  EXPECT_EQ(value<Pickle::Bytes>("T\x02\0\0\0ab"s).bytes, "ab");
  EXPECT_EQ(value<Pickle::Bytes>("\x96\x02\0\0\0\0\0\0\0ab"s).bytes, "ab");
}

TEST(Pickle, Containers) {
  EXPECT_EQ(value<Pickle::Tuple>(")").items.size(), 0u);
  EXPECT_EQ(value<Pickle::Tuple>("NN\x86").items.size(), 2u);
  EXPECT_EQ(value<Pickle::Tuple>("N(NNNNt0N\x85").items.size(), 1u);
  EXPECT_EQ(value<Pickle::List>("]NaN0(NNe").items.size(), 3u);
  EXPECT_EQ(value<Pickle::List>("(NNl").items.size(), 2u);
  EXPECT_TRUE(value<Pickle::List>("\x8f(NN\x90").unique);
  EXPECT_EQ(value<Pickle::List>("(NN\x91").items.size(), 2u);
  EXPECT_EQ(value<Pickle::Dict>("}NNs(NNNNu").items.size(), 3u);
  EXPECT_EQ(value<Pickle::Dict>("(NNd").items.size(), 1u);
  EXPECT_EQ(value<Pickle::Dict>("ccollections\nOrderedDict\n)R(NNu").items.size(), 1u);
  EXPECT_EQ(value<Pickle::Tuple>("((NN1NN\x86").items.size(), 2u);  // POP_MARK drops two values and their mark

  const auto pickle = parse(pickles::program(pickles::dict({{"a", "K\x01"}, {"b", "N"}, {"a", "K\x02"}})));
  ASSERT_TRUE(pickle);
  EXPECT_EQ(*pickle->get<std::int64_t>(*pickle->entry(pickle->root(), "a")), 2);
  EXPECT_EQ(pickle->entry(pickle->root(), "c"), std::nullopt);
  EXPECT_EQ(pickle->entry(*pickle->entry(pickle->root(), "b"), "a"), std::nullopt);
  EXPECT_FALSE(pickle->tuple(pickle->root()));
}

TEST(Pickle, MemoAndCircles) {
  EXPECT_EQ(value<std::string>("X\x01\0\0\0aq\xff"
                               "0h\xff"s),
            "a");
  EXPECT_EQ(value<std::string>("X\x01\0\0\0ar\x10\x27\0\0"
                               "0j\x10\x27\0\0"s),
            "a");
  EXPECT_EQ(value<std::string>("\x8c\x01"
                               "a\x94"
                               "\x8c\x01"
                               "b\x94"
                               "00h\0"s),
            "a");
  const auto circle = parse(pickles::program("]q\0h\0a"s));
  ASSERT_TRUE(circle);
  EXPECT_EQ(circle->get<Pickle::List>(circle->root())->items.front(), circle->root());
  const auto twice = parse(pickles::program("N2\x86"));
  ASSERT_TRUE(twice);
  EXPECT_EQ((*twice->tuple(twice->root()))[0], (*twice->tuple(twice->root()))[1]);
}

TEST(Pickle, ObjectsAreNamesWithArguments) {
  const auto call = parse(pickles::program("cos\nsystem\nX\x02\0\0\0ls\x85R"s));
  ASSERT_TRUE(call);
  const auto* object = call->get<Pickle::Object>(call->root());
  ASSERT_NE(object, nullptr);
  EXPECT_TRUE(call->callee(*object)->is("os", "system"));
  EXPECT_EQ(*call->get<std::string>((*call->tuple(object->arguments))[0]), "ls");
  EXPECT_FALSE(object->state);

  const auto made =
      parse(pickles::program("\x8c\x01m\x8c\x01n\x93)\x81}b]q\0NNs"
                             "h\0a"s));
  EXPECT_FALSE(made);  // a list has no keys
  const auto built = parse(pickles::program("\x8c\x01m\x8c\x01n\x93)\x81}bNNsNa"));
  ASSERT_TRUE(built) << built.error().message;
  const auto* instance = built->get<Pickle::Object>(built->root());
  ASSERT_NE(instance, nullptr);
  EXPECT_TRUE(built->callee(*instance)->is("m", "n"));
  EXPECT_NE(built->get<Pickle::Dict>(*instance->state), nullptr);
  EXPECT_EQ(instance->entries.size(), 1u);
  EXPECT_EQ(instance->items.size(), 1u);

  EXPECT_EQ(value<Pickle::Object>("cm\nn\n)}\x92").state, std::nullopt);
  const auto outside = parse(pickles::program("K\x07Q"));
  ASSERT_TRUE(outside);
  const auto* persistent = outside->get<Pickle::Persistent>(outside->root());
  ASSERT_NE(persistent, nullptr);
  EXPECT_EQ(*outside->get<std::int64_t>(persistent->id), 7);
}

TEST(Pickle, StopsAtItsEnd) {
  const auto pickle = parse("\x80\x02N.rest");
  ASSERT_TRUE(pickle);
  EXPECT_EQ(pickle->size(), 4u);
  EXPECT_TRUE(parse("\x80\x04\x95\x02\0\0\0\0\0\0\0N."s));
}

TEST(Pickle, Faults) {
  EXPECT_NE(fault("").find("ends without a STOP"), std::string::npos);
  EXPECT_NE(fault("\x80\x02N").find("at byte 3: ends without a STOP"), std::string::npos);
  EXPECT_NE(fault("\x80\x06.").find("protocol 6 is unknown"), std::string::npos);
  expect_fault("", "takes a value off an empty stack");
  expect_fault("(", "takes a value off an empty stack");
  expect_fault("N(a", "takes a value off an empty stack");  // not from below the mark
  expect_fault("t", "has no mark to go back to");
  expect_fault("N\x86", "takes a value off an empty stack");
  expect_fault("X\xff\xff\xff\xff", "needs 4294967295 bytes at 7, where 1 are left");
  expect_fault("\x8d\xff\xff\xff\xff\xff\xff\xff\xff", "needs 18446744073709551615 bytes");
  expect_fault("\x8b\xff\xff\xff\x7f", "needs 2147483647 bytes");
  expect_fault("G\0"s, "needs 8 bytes");
  expect_fault("\x95\xff\0\0\0\0\0\0\0"s, "a frame of 255 bytes exceeds the 1 that are left");
  expect_fault("h\x07", "the memo has no entry 7");
  expect_fault("q\0"s, "takes a value off an empty stack");
  expect_fault("NNa", "appends to what is no list");
  expect_fault("]NNs", "sets a key of what is no dict");
  expect_fault("}(Nu", "sets a key without a value");
  expect_fault("cm", "a name has no end");
  expect_fault("c\xff\nn\n", "a name is not valid UTF-8");
  expect_fault("NN\x93", "the name of a global is no text");
  expect_fault("cm\nn\nNR", "the arguments of a call are no tuple");
  expect_fault("NNb", "sets the state of what is no object");
  expect_fault("\xff", "0xff is no opcode");
  for (const char opcode : {'I', 'L', 'F', 'V', 'S', 'P', 'g', 'p', 'i', 'o', '\x82'})
    EXPECT_EQ(parse(pickles::program(std::string(1, opcode))).error().code, ErrorCode::unsupported) << opcode;
}

TEST(Pickle, EveryTruncationIsAnError) {
  const std::string code = pickles::program(pickles::dict(
      {{"a", pickles::tensor(pickles::storage("FloatStorage", "0", 4), 0, pickles::counts({4}), pickles::counts({1}))},
       {"b", pickles::list({pickles::none, pickles::integer(5), "G\0\0\0\0\0\0\0\0"s})}}));
  ASSERT_EQ(fault(code), "");
  for (std::size_t size = 0; size < code.size(); ++size) EXPECT_NE(fault(code.substr(0, size)), "") << size;
}

TEST(Pickle, LimitsItsMemory) {
  const std::string many((std::size_t{1} << 22) + 2, 'N');
  const auto values = parse(many + ".");
  ASSERT_FALSE(values);
  EXPECT_EQ(values.error().code, ErrorCode::unsupported);

  std::string names = pickles::text(std::string(1 << 16, 'm')) + "q\0"s;
  for (int i = 0; i < 300; ++i) names += "h\0h\0\x93"s;
  const auto globals = parse(pickles::program(names));
  ASSERT_FALSE(globals);
  EXPECT_NE(globals.error().message.find("bytes of names"), std::string::npos);
}

}  // namespace
