// SPDX-License-Identifier: MIT
// The strokes of the ASCII characters from the space on, for plot.c. A glyph is its width, then
// strokes with spaces between them. A point is two characters, x and y. x counts from '0' for a
// point on the stroke and from 'a' for the control point of a quadratic curve; between two control
// points the stroke passes half way. y counts down: 'a' is the capitals' top, 'e' the small
// letters' top, 'o' the baseline.
#ifndef PLOT_FONT_H
#define PLOT_FONT_H

static const char *const plot_font[95] = {
    "3", "00a0j 0o", "30a0d 3a3d", "93a2o 7a6o 0f9f 0j9j", // space ! " #
    "88dha4aaaag4hiiio4obo0l 4`4p", "<3agagh3hahaa3a 9hmhmo9ogogh9h :a2o", // $ %
    ":9o2eba4aga6dgf3gai0kao4oho9h", "00a0d", "33`adan3r", "30`dddn0r", // & ' ( )
    "63a3g 0b6f 6b0f", "80h8h 4d4l", "11o0r", "50i5i", "00o", "60q6a", // * + , - . /
    "84aiaio4oaoaa4a", "81c5a5o", "80daa4aia8eig5j0o8o", // 0 1 2
    "80caa4ahahh4h 3h4hihio4oao0l", "86o6a0k8k", "87a1a1gcf4fifio4oao0l", // 3 4 5
    "87bga5aaa0j 4fifio4oaoaf4f", "80a8a3o", "84ahahh4hbhba4a 4hihio4oaoah4h", // 6 7 8
    "81nco3oio8f 4jajaa4aiaij4j", "00o 0f", "11o0r 1f", // 9 : ;
    "88d0h8l", "80f8f 0j8j", "80d8h0l", "60daa3aga6dgg3i3k 3o", // < = > ?
    "<6ejejk6kdkde6e 9e9jjl:lml<gma6aaaao6o9n", // @
    ":0o5a:o 2j8j", "80a0o 0a4ahahh4h0h 4hihio4o0o", "99dia5aaaao5oio9l", // A B C
    "90a0o4ojoja4a0a", "77a0a0o7o 0h6h", "77a0a0o 0h6h", "99dia5aaaao5ojo9k9h5h", // D E F G
    "90a0o 9a9o 0h9h", "00a0o", "66a6kgo3oao0k", "80a0o 8a0i 3f8o", "70a0o7o", // H I J K L
    ":0o0a5l:a:o", "90o0a9o9a", ":5akako5oaoaa5a", "80o0a4aiaih4h0h", // M N O P
    ":5akako5oaoaa5a 6l:p", "80o0a4aiaih4h0h 4h8o", "88dha4aaaag4hiiio4obo0l", // Q R S
    "80a8a 4a4o", "80a0jao4oio8j8a", ":0a5o:a", "<0a3o6a9o<a", "90a9o 9a0o", // T U V W X
    ":0a5h:a 5h5o", "90a9a0o9o", "33`0`0r3r", "60a6q", "30`3`3r0r", "80f4a8f", // Y Z [ \ ] ^
    "80q8q", "20a2c", "71fce4ehe7h7o 7i3iaiao3ofo7l", "80a0o 4eieio4oaoae4e", // _ ` a b
    "77gge4eaeao4ogo7m", "88a8o 4eieio4oaoae4e", "80j8jie4eaeao4oho8m", // c d e
    "55a4aca2d2o 0e5e", "84eieio4oaoae4e 8e8nis4sbs1q", "70a0o 0ibe4ehe7i7o", // f g h
    "00e0o 0b", "22e2pcs0s 2b", "70a0o 7e0k 3h7o", "20a0lao2o", // i j k l
    "<0e0o 0ibe3ege6i6o 6ihe9eme<i<o", "70e0o 0ibe4ehe7i7o", "84eieio4oaoae4e", // m n o
    "80e0s 4eieio4oaoae4e", "88e8s 4eieio4oaoae4e", "50e0o 0ibe5e", // p q r
    "66gge3eaeai3jgkgo3oao0m", "52b2lco5o 0e5e", "77e7o 0e0kao3ogo7k", // s t u
    "80e4o8e", "<0e3o6e9o<e", "70e7o 7e0o", "80e4o 8e2s", "70e7e0o7o", // v w x y z
    "44`c`2c2fci0ici2l2ocr4r", "00`0r", "40`c`2c2fci4ici2l2ocr0r", "80icf4hgj8g", // { | } ~
};

#endif
